"""商品の一覧を読み込む処理の代わりです。障害訓練では、ここで起動に失敗します。"""

import os
import signal
from pathlib import Path

FAULT = os.environ.get("FAULT")


# --8<-- [start:products]
def load_products() -> None:
    if FAULT == "one" and is_first():
        raise RuntimeError("商品の一覧を読み込めません")
    if FAULT == "kill":  # メモリが足りず、OS に止められる
        os.kill(os.getpid(), signal.SIGKILL)


def is_first() -> bool:
    """起動するたびに空になるフォルダーに、最初に印を付けたワーカーかどうかです。"""
    try:
        Path(os.environ["RUNTIME_DIRECTORY"], "first").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


# --8<-- [end:products]
