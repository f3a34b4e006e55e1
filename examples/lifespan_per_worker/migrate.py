"""サーバーを起動する前に、1 度だけ動かすコマンドです。"""

# --8<-- [start:migrate]
from examples.lifespan_per_worker.good import migrate

if __name__ == "__main__":
    migrate()
# --8<-- [end:migrate]
