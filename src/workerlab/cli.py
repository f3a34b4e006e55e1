"""The command line ``workerlab``.

Exit status: 0 all invariants hold, 1 one is violated, 2 there is no result.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

import workerlab
from workerlab import catalog, compose, recording, stage
from workerlab.errors import AppError, WorkerlabError
from workerlab.experiment import Experiment, Result, number
from workerlab.servers import SERVERS
from workerlab.timeline import timeline
from workerlab.trace import count_by_worker

HOLDS, VIOLATED, NO_RESULT = 0, 1, 2
DEFAULT_WORKERS = 4
USAGE_ERROR: Any = typer.BadParameter.__base__
"""What typer raises for unknown options, missing arguments and wrong types."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

app = typer.Typer(
    name="workerlab",
    help="複数ワーカーで壊れる FastAPI を、実際のワーカープロセスで試します。",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Interrupted(WorkerlabError):
    """Somebody ended the run with a signal; everything was stopped first."""


def main() -> int:
    """Run the command line and return its status.

    A user's mistake is one line on stderr and status 2.
    """
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
    except WorkerlabError as error:
        return _complain(str(error))
    except USAGE_ERROR as error:
        return _complain(
            f"引数が正しくありません（{error.format_message()}）。"
            "使い方は workerlab --help で確かめられます。"
        )
    except (BrokenPipeError, SystemExit):  # typer turns a broken pipe into SystemExit(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _complain("出力先が閉じられたので、結果を書ききれませんでした。")
    return status if isinstance(status, int) else HOLDS


def _complain(message: str) -> int:
    print(f"workerlab: {message}", file=sys.stderr)
    return NO_RESULT


def _whole(text: str | int) -> int:
    """Read a number; the message names what was typed."""
    try:
        return int(text)
    except ValueError:
        raise AppError(
            f"「{text}」は整数ではありません。4 のような整数を指定してください。"
        ) from None


@app.callback(invoke_without_command=True)
def show_version(
    version: Annotated[
        bool, typer.Option("--version", help="版を表示して終わります。")
    ] = False,
) -> None:
    """複数ワーカーで壊れる FastAPI を、実際のワーカープロセスで試します。"""
    if version:
        print(f"workerlab {workerlab.__version__}")
        raise typer.Exit


@app.command("list")
def list_topics(
    as_json: Annotated[bool, typer.Option("--json", help="JSON で出力します。")] = False,
) -> None:
    """実験の一覧を表示します。"""
    rows: list[dict[str, Any]] = [
        {
            "topic": topic.slug,
            "title": topic.experiment.title,
            "needs": sorted(topic.experiment.needs),
            "variants": list(catalog.VARIANTS),
            "drills": list(topic.drills),
            "fakes": [fake.name for fake in topic.fakes],
            "invariants": [i.name for i in topic.experiment.invariants],
        }
        for topic in catalog.topics()
    ]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("実験", no_wrap=True)
    for head in ("内容", "必要なもの", "偽の直し方", "障害訓練"):
        table.add_column(head, overflow="fold")
    for row in rows:
        lists = ("、".join(row[key]) or "なし" for key in ("needs", "fakes", "drills"))
        table.add_row(row["topic"], row["title"], *lists)
    _console().print(table)


@app.command()
def run(
    topic: Annotated[str, typer.Argument(help="実験の名前（workerlab list で一覧）。")],
    variant: Annotated[
        str | None,
        typer.Option(
            help="bad（壊れる版）か good（直した版）。省くと bad、障害訓練では good。"
        ),
    ] = None,
    drill: Annotated[
        str,
        typer.Option(help="直し方が壊れる場面（障害訓練）の名前（workerlab list で一覧）。"),
    ] = "",
    app_file: Annotated[
        Path | None,
        typer.Option("--app", help="同じルートを持つ、あなたの .py ファイル。"),
    ] = None,
    server: Annotated[
        str,
        typer.Option(
            help=f"{'、'.join(SERVERS)} のどれか。省くと、使えるもののうち最初。"
            f"起動してある環境で動かすなら {'、'.join(compose.STACKS)}。"
        ),
    ] = "",
    workers: Annotated[
        int | None,
        typer.Option(
            parser=_whole, metavar="数", help="ワーカープロセスの数（1〜64）。省くと 4。"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="結果を JSON で出力します。")] = False,
    svg: Annotated[
        Path | None, typer.Option(help="時系列の図を、このファイルに書きます。")
    ] = None,
    startup_timeout: Annotated[
        int, typer.Option(parser=_whole, metavar="秒", help="全ワーカーの準備を待つ秒数。")
    ] = 60,
) -> None:
    """実際のワーカーを起動して実験を行い、不変条件の表を表示します。"""
    chosen = catalog.find(topic)
    experiment = chosen.drill(drill) if drill else chosen.experiment
    variant = variant or ("good" if drill else "bad")
    _check_choice("--variant", variant, catalog.VARIANTS)
    if svg is not None:
        _check_writable(svg)
    if server in compose.STACKS:
        _check_stack_options(server, app_file, workers)
        location, name = chosen.app(variant), variant
        result, workers = _play_on_stack(experiment, variant, server, startup_timeout)
    else:
        server = server or next(filter(experiment.plays_on, SERVERS))
        _check_choice("--server", server, tuple(filter(experiment.plays_on, SERVERS)))
        workers = DEFAULT_WORKERS if workers is None else workers
        _check_workers(workers)
        location = catalog.app_from_file(app_file) if app_file else chosen.app(variant)
        name = app_file.name if app_file else variant
        result = _play(experiment, location, server, workers, startup_timeout)

    if svg is not None:
        _write(svg, _picture(result, name))
    if as_json:
        about = {"app": location, "server": server, "workers": workers}
        document = {**about, "versions": stage.versions(), **result.to_dict()}
        print(json.dumps(document, ensure_ascii=False))
    else:
        _console().print(*report(result, f"{name}、{server}、ワーカー {workers}"), sep="\n")
    if server in compose.STACKS and workers == 1:
        print("ワーカーが 1 つの環境では、複数のワーカーで起きる故障は現れません。")
    elif not result.conclusive:
        _complain_about_few(result, workers)
    raise typer.Exit(HOLDS if result.holds else VIOLATED)


@app.command()
def record(
    names: Annotated[
        list[str] | None, typer.Argument(help="実験の名前。省くとすべて。")
    ] = None,
) -> None:
    """実際に動かした記録（json、svg、表）を作り直します。"""
    topics = [catalog.find(name) for name in names] if names else catalog.topics()
    for topic in topics:
        _interruptible(recording.record(topic, say=lambda line: print(f"記録: {line}")))
    recording.write_environment(catalog.topics())


@app.command()
def serve(
    port: Annotated[
        int,
        typer.Option(
            parser=_whole, metavar="番号", help="待ち受けるポート。0 なら空いている番号。"
        ),
    ] = 8000,
) -> None:
    """組み立て済みのサイト（site/）を 127.0.0.1 で公開します。"""
    from workerlab import static

    static.serve(catalog.ROOT / "site", port=port)


def _play(
    experiment: Experiment, location: str, server: str, workers: int, timeout: float
) -> Result:
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as progress:
        bar = progress.add_task("ワーカーを起動中", total=experiment.requests)
        return _interruptible(
            stage.play(
                experiment,
                location,
                server=server,
                workers=workers,
                startup_timeout=timeout,
                on_ready=lambda: progress.update(bar, description="リクエストを送信中"),
                on_exchange=lambda exchange: progress.advance(bar),
            )
        )


def _play_on_stack(
    experiment: Experiment, variant: str, name: str, timeout: float
) -> tuple[Result, int]:
    return _interruptible(
        compose.play(
            experiment,
            variant,
            compose.STACKS[name],
            startup_timeout=max(timeout, compose.STARTUP_TIMEOUT),
        )
    )


def _check_stack_options(server: str, app_file: Path | None, workers: int | None) -> None:
    for option, given in (("--app", app_file), ("--workers", workers)):
        if given is not None:
            raise AppError(
                f"{option} は {server} では使えません。アプリとワーカーの数は、環境の設定"
                f"（{compose.STACKS[server].file}）で決まります。"
            )


def _check_workers(workers: int) -> None:
    if not 1 <= workers <= 64:
        raise AppError(f"--workers {workers} は使えません。1〜64 の整数を指定してください。")


def _complain_about_few(result: Result, workers: int) -> None:
    raise WorkerlabError(
        f"応答したワーカーが {len(result.trace.workers)} 個なので、結果とはみなせません。"
        + (
            "--workers を 2 以上にして、もう一度実行してください。"
            if workers < 2
            else "ほかのワーカーは 1 件も応答しませんでした。もう一度実行してください。"
        )
    )


def _interruptible[T](work: Coroutine[Any, Any, T]) -> T:
    """Run *work*; SIGINT, SIGTERM and SIGHUP end it in order, with everything stopped."""

    async def guarded() -> T:
        task = asyncio.ensure_future(work)
        received: list[signal.Signals] = []

        def stop(received_signal: signal.Signals) -> None:
            received.append(received_signal)
            task.cancel()

        loop = asyncio.get_running_loop()
        for each in SIGNALS:
            loop.add_signal_handler(each, stop, each)
        try:
            return await task
        except asyncio.CancelledError:
            if not received:
                raise
            raise Interrupted(
                f"{received[0].name} で中断しました。起動したプロセスはすべて"
                "止めました。結果はありません。"
            ) from None

    return asyncio.run(guarded())


def report(result: Result, about: str) -> tuple[str, Table, str]:
    """What ``workerlab run`` prints: a title, the invariants, and how many workers answered.

    Args:
        about: What was run: ``"bad、uvicorn、ワーカー 4"``.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("不変条件", "期待", "観測", "判定"):
        table.add_column(head)
    for verdict in result.verdicts:
        table.add_row(
            verdict.invariant.label,
            verdict.invariant.requirement,
            number(verdict.observed),
            "○ 成り立つ" if verdict.holds else "× 破れた",
        )
    counts = sorted(count_by_worker(result.trace.exchanges).values(), reverse=True)
    shares = " / ".join(map(str, counts))
    return (
        f"{result.experiment.title}（{about}）",
        table,
        f"{len(counts)} 個のワーカーが応答しました（{shares} 件）。",
    )


def _picture(result: Result, name: str) -> str:
    experiment = result.experiment
    return timeline(
        result.trace,
        title=f"{experiment.title}（{name}）の記録",
        ident=experiment.topic,
        expected=experiment.expected_value,
        standalone=True,
    )


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise AppError(
            f"{option} {value} は使えません。{'、'.join(choices)} のどれかを指定してください。"
        )


def _check_writable(path: Path) -> None:
    """Before the run, not after it: a result must not get lost."""
    if path.is_dir() or not path.parent.is_dir():
        raise AppError(
            f"--svg {path} に書けません。すでにあるフォルダーの中の、ファイル名を指定して"
            "ください。"
        )
    try:
        with path.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise AppError(
            f"--svg {path} に書けません（{error.strerror}）。書ける場所を指定してください。"
        ) from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise AppError(f"--svg {path} に書けませんでした（{error.strerror}）。") from None


def _console() -> Console:
    """Plain text of a fixed width when the output is not a terminal."""
    return Console() if sys.stdout.isatty() else Console(width=88, color_system=None)
