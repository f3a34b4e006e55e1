"""領収書を発行する仕事と、それをキューへ渡す中継です。good.py と同じデータベースを使います。

taskiq worker examples.background_task_loss.tasks:broker
"""

import asyncio
import logging
import os
import time
from contextlib import closing

from taskiq import TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker

from examples.background_task_loss.database import connect

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
SECONDS_PER_LINE = 0.1  # 明細 1 行を領収書に載せるのにかかる時間のつもり
RELAY_SECONDS = 0.2
RESEND_SECONDS = 5  # 待ち時間と仕事の合計より長く。実験を待たせないように、ここでは短い

# --8<-- [start:broker]
broker = RedisStreamBroker(
    REDIS_URL,
    consumer_id="0",  # グループより先に入った仕事も読む。既定の "$" は読み飛ばす
    idle_timeout=60_000,  # ミリ秒。これだけ音沙汰のない仕事は、ほかのワーカーが引き取る
    maxlen=100_000,  # 済んだ仕事もストリームに残るので、上限を決める
    socket_connect_timeout=5,
)
# --8<-- [end:broker]


# --8<-- [start:job]
@broker.task
async def issue_receipt(order_id: int) -> None:
    lines = await asyncio.to_thread(begin, order_id)
    if lines is None:
        return  # 注文がないか、もう発行してある
    await asyncio.sleep(lines * SECONDS_PER_LINE)
    await asyncio.to_thread(finish, order_id)


def begin(order_id: int) -> int | None:
    with closing(connect()) as db, db:
        row = db.execute(
            "SELECT lines FROM orders WHERE id = ? "
            "AND id NOT IN (SELECT order_id FROM receipts)",
            [order_id],
        ).fetchone()
        db.execute("INSERT INTO runs (order_id) VALUES (?)", [order_id])
    return row and row[0]


def finish(order_id: int) -> None:
    with closing(connect()) as db, db:  # 領収書と済みの印は、同じトランザクションで
        db.execute(
            "INSERT INTO receipts (order_id) VALUES (?) ON CONFLICT (order_id) DO NOTHING",
            [order_id],
        )
        db.execute("UPDATE outbox SET done = 1 WHERE order_id = ?", [order_id])


# --8<-- [end:job]
# --8<-- [start:relay]
async def relay() -> None:
    while True:
        try:
            for order_id in await asyncio.to_thread(claim):
                await issue_receipt.kiq(order_id)
        except Exception:  # Redis が止まっていても、中継は次の周回でやり直す
            logging.exception("中継に失敗しました")
        await asyncio.sleep(RELAY_SECONDS)


def claim() -> list[int]:
    """送る番が来た行に印を付けて、番号を返します。2 つの中継が同じ行を取ることはありません。"""
    now = time.time()
    with closing(connect()) as db, db:
        rows = db.execute(
            "UPDATE outbox SET send_at = ? WHERE done = 0 AND send_at <= ? RETURNING order_id",
            [now + RESEND_SECONDS, now],
        ).fetchall()
    return [order_id for (order_id,) in rows]


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def start_relay(state: TaskiqState) -> None:
    state.relay = asyncio.create_task(relay())


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def stop_relay(state: TaskiqState) -> None:
    state.relay.cancel()


# --8<-- [end:relay]
