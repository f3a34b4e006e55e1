"""good.py の定期実行だけを行う、サーバーとは別のプロセスです。"""

import asyncio

import redis.asyncio as redis

from examples.duplicate_scheduler.good import LEASE_SECONDS, send_due_reports
from examples.duplicate_scheduler.mailbox import INTERVAL, REDIS_URL


# --8<-- [start:main]
async def main() -> None:
    async with redis.from_url(REDIS_URL) as store:
        lease = store.lock("owner", timeout=LEASE_SECONDS)
        print("started", flush=True)
        while True:
            await send_due_reports(store, lease)
            await asyncio.sleep(INTERVAL)


if __name__ == "__main__":
    asyncio.run(main())
# --8<-- [end:main]
