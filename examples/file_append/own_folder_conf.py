"""gunicorn の設定。コンテナごとの /tmp のように、ワーカーごとに別のフォルダーを渡します。"""

import os
from pathlib import Path
from typing import Any


# --8<-- [start:hook]
def post_fork(server: Any, worker: Any) -> None:
    folder = Path(os.environ["DATA_DIR"], f"container-{worker.age}")
    folder.mkdir()
    os.environ["DATA_DIR"] = str(folder)


# --8<-- [end:hook]
