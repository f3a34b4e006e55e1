"""料金表のデータベースと、その変更の一覧です。どの版のアプリも、これを使います。"""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

FOLDER = Path(os.environ.get("DATA_DIR", "."))
RELEASE = int(os.environ.get("RELEASE", "2"))  # 何番目の変更までを持つ版か
MIGRATION_SECONDS = 0.5  # 変更にかかる時間。本物の表なら、数分かかることもある
WORKERS = int(os.environ.get("WEB_CONCURRENCY", "1"))
PLANS = {"light": 1000, "standard": 2000, "premium": 3000}


def connect() -> sqlite3.Connection:
    return sqlite3.connect(FOLDER / "plans.db", timeout=60)


# --8<-- [start:migrations]
def add_plans(db: sqlite3.Connection) -> None:
    """変更 1。表を作り、最初の 3 行を入れる。"""
    db.execute("CREATE TABLE IF NOT EXISTS plans (name TEXT, price INTEGER)")
    db.execute("CREATE TABLE IF NOT EXISTS runs (worker INTEGER)")
    db.executemany("INSERT INTO plans VALUES (?, ?)", PLANS.items())
    db.execute("PRAGMA user_version = 1")


def raise_prices(db: sqlite3.Connection) -> None:
    """変更 2。すべて 100 円値上げする。"""
    db.execute("UPDATE plans SET price = price + 100")
    take_time()
    db.execute("INSERT INTO runs VALUES (?)", [os.getpid()])  # 実験が数えるため
    db.execute("PRAGMA user_version = 2")


Migration = Callable[[sqlite3.Connection], None]
MIGRATIONS: tuple[Migration, ...] = (add_plans, raise_prices)


def pending(db: sqlite3.Connection) -> Sequence[Migration]:
    """まだ行われていない変更。何番目まで済んだかは、SQLite の user_version に書いてある。"""
    (done,) = db.execute("PRAGMA user_version").fetchone()
    return MIGRATIONS[done:RELEASE]


# --8<-- [end:migrations]
# --8<-- [start:together]
def start_together() -> None:
    """全ワーカーがここに着くまで待つ。同時に起動した場面を、毎回作るため。"""
    (FOLDER / f"started-{os.getpid()}").touch()
    deadline = time.monotonic() + 30
    while len(list(FOLDER.glob("started-*"))) < WORKERS and time.monotonic() < deadline:
        time.sleep(0.01)


# --8<-- [end:together]
# --8<-- [start:faults]
def take_time() -> None:
    """時間のかかる変更の代わり。障害訓練では、その途中で死ぬか、失敗する。"""
    (FOLDER / f"begun-{os.getpid()}").touch()
    time.sleep(MIGRATION_SECONDS)
    fault = os.environ.get("FAULT")
    if fault == "kill" and not (FOLDER / "killed").exists():
        (FOLDER / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "error":
        raise ValueError("値上げのできない料金があります")


# --8<-- [end:faults]
def state() -> dict[str, int]:
    """いまの料金表と、実験が数えるもの。"""
    db = connect()
    try:
        (rows,) = db.execute("SELECT count(*) FROM plans").fetchone()
        (price,) = db.execute("SELECT max(price) FROM plans WHERE name = 'light'").fetchone()
        (runs,) = db.execute("SELECT count(*) FROM runs").fetchone()
    finally:
        db.close()
    begun = len(list(FOLDER.glob("begun-*")))
    return {"price": price, "rows": rows, "runs": runs, "begun": begun}
