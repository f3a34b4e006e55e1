"""good.py と同じことを、PostgreSQL のアドバイザリロックで行います。"""

import psycopg

# --8<-- [start:advisory]
MIGRATION_LOCK = 20261124  # アプリで 1 つ決める番号。ほかの用途には使わない


def migrate(url: str) -> None:
    with psycopg.connect(url) as db:  # 終わると COMMIT、例外なら ROLLBACK
        db.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
        db.execute("CREATE TABLE IF NOT EXISTS done (change text PRIMARY KEY)")
        if not db.execute("SELECT 1 FROM done WHERE change = 'raise'").fetchone():
            db.execute("UPDATE plans SET price = price + 100")
            db.execute("INSERT INTO done VALUES ('raise')")


# --8<-- [end:advisory]
