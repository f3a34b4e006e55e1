"""Entry point of ``workerlab`` and ``python -m workerlab``."""

import io
import sys
import traceback
from typing import NoReturn

INTERRUPTED = "workerlab: 中断しました。結果はありません。"


def main() -> NoReturn:
    """Run the command line.

    Whatever is unexpected ends with status 2, after its traceback: status 1 is a verdict, and
    nothing else may claim it. Ctrl-C while the modules are still loading is one line.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # Japanese, whatever the locale says
            stream.reconfigure(encoding="utf-8", errors="replace")
    try:
        from workerlab import cli

        sys.exit(cli.main())
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
    except Exception as error:
        traceback.print_exc()
        name = type(error).__name__
        print(
            f"workerlab: 予期しないエラーです（{name}: {error}）。結果はありません。",
            file=sys.stderr,
        )
    sys.exit(2)


if __name__ == "__main__":
    main()
