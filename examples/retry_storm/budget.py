"""やり直しの予算です。ワーカープロセスごとに 1 つ持ちます。"""

from tenacity import RetryCallState


# --8<-- [start:budget]
class RetryBudget:
    """注文 10 件につき 1 回まで、やり直しを許します。貯められるのは 2 回分までです。"""

    COST, SAVED = 10, 20

    def __init__(self) -> None:
        self.points = self.SAVED

    def earn(self) -> None:
        """注文を 1 件受け取るたびに呼びます。"""
        self.points = min(self.points + 1, self.SAVED)

    def is_spent(self, state: RetryCallState) -> bool:
        """やり直す直前に呼ばれます。足りなければ、やり直しを止めます。"""
        if self.points < self.COST:
            return True
        self.points -= self.COST
        return False


# --8<-- [end:budget]
