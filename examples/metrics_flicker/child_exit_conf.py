"""gunicorn の設定。死んだワーカーの live ゲージを、アービターが片づけます。"""

import os
from typing import Any

# --8<-- [start:hook]
os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ["RUNTIME_DIRECTORY"]
from prometheus_client.multiprocess import mark_process_dead  # ワーカーにも引き継がれる


def child_exit(server: Any, worker: Any) -> None:
    mark_process_dead(worker.pid)


# --8<-- [end:hook]
