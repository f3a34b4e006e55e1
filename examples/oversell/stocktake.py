"""棚卸しの途中で止まったバッチです。ロックを持ったまま、何もしません。

使い方: `python -m examples.oversell.stocktake items` のように、表の名前を渡します。
"""

import signal
import sys

from sqlalchemy import text

from examples.oversell.shop import open_shop

# --8<-- [start:locks]
LOCKS = {
    "items": "SELECT quantity FROM items WHERE id = 1 FOR UPDATE",
    "sales": "LOCK TABLE sales IN SHARE MODE",  # 数える間、台帳に書かせない
}
# --8<-- [end:locks]

if __name__ == "__main__":
    with open_shop().begin() as connection:
        connection.execute(text(LOCKS[sys.argv[1]]))
        print("ロックを取りました", flush=True)
        signal.pause()  # 殺されるまで止まっている
