"""モデルのファイルを作って配る「学習の仕事」の代わりと、実験がメモリを量る窓口です。"""

import fcntl
import os
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
from fastapi import APIRouter

FILE = Path(os.environ.get("DATA_DIR", "."), "model.npy")
ITEMS, FEATURES = 98_304, 256  # 4 バイトの数を並べて、ちょうど 96 MiB
MB = 1024 * 1024
router = APIRouter()


def train(version: int, items: int = ITEMS) -> np.ndarray:
    """商品ごとの特徴を並べた配列です。先頭の 1 つは、何回目の学習かを表します。"""
    model = np.random.default_rng(version).random((items, FEATURES), dtype=np.float32)
    model[0, 0] = version
    return model


def features_of(user: int) -> np.ndarray:
    return np.random.default_rng(user).random(FEATURES, dtype=np.float32)


# --8<-- [start:publish]
def replace(model: np.ndarray) -> None:
    """別の名前で書き終えてから、名前を付け替えます。"""
    draft = FILE.with_name("model-new.npy")
    np.save(draft, model)
    draft.replace(FILE)


def overwrite(model: np.ndarray) -> None:
    """同じファイルを空にして、その上に書きます。"""
    np.save(FILE, model)


# --8<-- [end:publish]
def model_file() -> Path:
    """モデルのファイル。まだなければ、最初に来たワーカーが作る。"""
    with FILE.with_name("training.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not FILE.exists():
            replace(train(1))
    return FILE


@router.put("/model/{how}")
def publish(how: Literal["replace", "overwrite"]) -> dict[str, int]:
    """学習の仕事が、商品を半分に減らした新しいモデルを配ります。"""
    {"replace": replace, "overwrite": overwrite}[how](train(2, ITEMS // 2))
    return {"worker": os.getpid()}


# --8<-- [start:memory]
@router.get("/memory/{kind}")
def read_memory(kind: Literal["rss", "pss"]) -> dict[str, float]:
    used = psutil.Process().memory_full_info()
    return {"mb": round(getattr(used, kind) / MB, 1)}


# --8<-- [end:memory]
