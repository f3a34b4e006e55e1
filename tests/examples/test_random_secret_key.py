"""random_secret_key: a key per worker signs cookies that no other worker believes."""

import asyncio
import base64
import dataclasses
import importlib.util
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from http.cookies import SimpleCookie
from pathlib import Path
from types import ModuleType

import httpx2
import pytest
from itsdangerous import BadSignature, TimestampSigner
from uvicorn.main import main as uvicorn_command

from contract import ANY, FOUR, broken, drills, fakes, play
from helpers import wait_until
from workerlab import catalog, stage
from workerlab.errors import StartupError

SLUG = "random_secret_key"
four = pytest.mark.parametrize(("server", "workers"), FOUR)
GUNICORN = ["gunicorn-asgi", "gunicorn-uvicorn"]


@four
def test_bad_believes_its_own_worker_only(server: str, workers: int) -> None:
    """Each worker made a key of its own; nobody can guess any of them."""
    assert broken(play(SLUG, "bad", server, workers)) == {"logged_in"}


@four
def test_good_believes_every_worker(server: str, workers: int) -> None:
    """With one key for all, 100 of 100, and no forged cookie."""
    assert broken(play(SLUG, "good", server, workers)) == set()


CAUGHT_BY = {
    "constant_key": {"forged"},
    "environ_or_random": {"logged_in"},
    "inherited_environ": {"logged_in"},
}


@four
@pytest.mark.parametrize("fake", fakes(SLUG))
def test_fake_is_caught(fake: str, server: str, workers: int) -> None:
    """A key that all know, a key that was not set, a key that nobody inherits."""
    result = play(SLUG, fake, server, workers)
    assert broken(result) == CAUGHT_BY[fake]
    if fake == "constant_key":  # one of the ten guesses, ten times
        assert sum(result.trace.measured("forged.known")) == 10


@pytest.mark.parametrize("server", sorted({server for server, _ in FOUR}))
@pytest.mark.parametrize("drill", drills(SLUG))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """A deployment logs nobody out; a new key does when the old one is taken away."""
    experiment = catalog.find(SLUG).drill(drill)
    result = play(SLUG, "good", server, 4, experiment)
    assert broken(result) == set()
    assert {event.kind for event in result.trace.events} == {"measured", "server_restarted"}


@pytest.mark.parametrize(
    ("drill", "app", "violated"),
    [
        ("redeploy", "bad", {"before", "after"}),
        ("rotation", "constant_key", {"old"}),
        ("rotation", "bad", {"overlap", "new"}),
    ],
)
def test_drill_can_fail(drill: str, app: str, violated: set[str]) -> None:
    """A random key ends with its process; a constant one never."""
    experiment = catalog.find(SLUG).drill(drill)
    assert broken(play(SLUG, app, ANY, 4, experiment)) == violated


@pytest.mark.parametrize("server", GUNICORN)
def test_preload_shares_the_key_until_the_next_deployment(server: str) -> None:
    """bad.py with --preload holds the experiment, and loses everybody in the drill."""
    topic = catalog.find(SLUG)
    for experiment, violated in (
        (topic.experiment, set()),
        (topic.drill("redeploy"), {"after"}),
    ):
        preloaded = dataclasses.replace(experiment, options=("--preload",))
        result = play(SLUG, "bad", server, 4, preloaded)
        assert broken(result) == violated
    assert result.trace.measured("before.known") == [50]
    assert result.trace.measured("after.known") == [0]


# -- it does not start without a key ---------------------------------------------------------

MESSAGE = "RuntimeError: SECRET_KEY に 32 文字以上の乱数を指定してください"
APP = f"examples.{SLUG}.good:app"
GUNICORN_LINE = ("gunicorn", "--workers=4", "--bind=127.0.0.1:0", "--no-control-socket")


def without_key() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("SECRET_KEY")}


@pytest.mark.parametrize(
    "command",
    [
        ("uvicorn", "--port=0"),
        (*GUNICORN_LINE, "--worker-class=asgi"),
        (*GUNICORN_LINE, "--worker-class=uvicorn_worker.UvicornWorker"),
    ],
    ids=lambda command: command[-1],
)
def test_server_ends_without_a_key(command: tuple[str, ...]) -> None:
    """It says why, and the status is not 0 (gunicorn's is 1 or 3)."""
    done = subprocess.run(
        [sys.executable, "-m", *command, APP],
        cwd=catalog.ROOT,
        env=without_key(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
    )
    assert MESSAGE in done.stdout
    assert done.returncode in (1, 3)


def test_uvicorn_with_workers_tries_again_and_again() -> None:
    """Its supervisor starts the failing workers again and again, and does not end."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", APP, "--port=0", "--workers=2"],
            cwd=catalog.ROOT,
            env=without_key(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def failed_often() -> bool:
            output.seek(0)
            text = output.read()
            assert process.poll() is None, text
            return len(re.findall(rf"^{MESSAGE}$", text, flags=re.MULTILINE)) >= 3 * 2

        try:
            wait_until(failed_often, "three failures of each worker", timeout=90)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


@pytest.mark.parametrize(
    "environment",
    [
        {"SECRET_KEY": ""},
        {"SECRET_KEY": "your-secret-key"},
        {"SECRET_KEY": secrets.token_hex(32), "SECRET_KEY_FALLBACKS": "short"},
    ],
    ids=["none", "short", "short fallback"],
)
def test_short_key_is_refused(environment: dict[str, str]) -> None:
    """31 characters or fewer, also among the old keys."""
    topic = catalog.find(SLUG)
    experiment = dataclasses.replace(topic.experiment, environment=environment)
    with pytest.raises(StartupError, match="SECRET_KEY に 32 文字以上"):
        asyncio.run(stage.play(experiment, topic.app("good"), workers=1))


# -- what the page says of rotation ----------------------------------------------------------


def good_with(monkeypatch: pytest.MonkeyPatch, **environment: str) -> ModuleType:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    path = catalog.find(SLUG).folder / "good.py"
    spec = importlib.util.spec_from_file_location("good_in_process", path)
    assert spec is not None
    assert spec.loader is not None
    good = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(good)
    return good


def test_last_key_signs_and_all_verify() -> None:
    """itsdangerous takes the keys from the oldest to the newest."""
    old, new, other = (secrets.token_hex(32) for _ in range(3))
    both = TimestampSigner([old, new])
    assert TimestampSigner(new).unsign(both.sign("a")) == b"a"
    assert both.unsign(TimestampSigner(old).sign("a")) == b"a"
    with pytest.raises(BadSignature):
        both.unsign(TimestampSigner(other).sign("a"))


def test_reading_signs_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cookie of the old key stays as it is until the session is changed."""
    old, new = secrets.token_hex(32), secrets.token_hex(32)
    good = good_with(monkeypatch, SECRET_KEY=new, SECRET_KEY_FALLBACKS=old)
    data = base64.b64encode(json.dumps({"user": "alice"}).encode())
    mine = {"cookie": f"session={TimestampSigner(old).sign(data).decode()}"}

    async def ask() -> tuple[httpx2.Response, httpx2.Response]:
        transport = httpx2.ASGITransport(app=good.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://good") as client:
            look = await client.get("/me", headers=mine)
            login = await client.post("/login", headers=mine, json={"user": "alice"})
            return look, login

    look, login = asyncio.run(ask())
    assert look.json()["user"] == "alice"
    assert "set-cookie" not in look.headers
    signed = SimpleCookie(login.headers["set-cookie"])["session"].value
    assert TimestampSigner(new).unsign(signed)


def test_key_in_a_file_is_one_per_folder(tmp_path: Path) -> None:
    """Workers that share a folder share the key; containers with their own do not."""
    app = tmp_path / "file_key.py"
    source = (catalog.find(SLUG).folder / "bad.py").read_text(encoding="utf-8")
    app.write_text(
        source.replace(
            "SECRET_KEY = secrets.token_hex(32)",
            "from pathlib import Path\n\nfile = Path(os.environ['DATA_DIR'], 'key')\n"
            "if not file.exists():\n    file.write_text(secrets.token_hex(32))\n"
            "SECRET_KEY = file.read_text()",
        ),
        encoding="utf-8",
    )
    experiment = dataclasses.replace(catalog.find(SLUG).experiment, needs=frozenset({"files"}))
    own_folder = f"--config={catalog.find('file_append').folder}/own_folder_conf.py"
    for options, violated in (
        ((), set()),
        ((own_folder,), {"logged_in"}),
    ):
        played = dataclasses.replace(experiment, options=options)
        result = asyncio.run(stage.play(played, str(app), server="gunicorn-asgi"))
        assert broken(result) == violated


def test_uvicorn_has_no_preload() -> None:
    """What gunicorn's ``--preload`` does has no name in uvicorn."""
    options = {option for parameter in uvicorn_command.params for option in parameter.opts}
    assert "--workers" in options
    assert not {option for option in options if "preload" in option}


def test_a_key_is_verified_everywhere_before_it_signs() -> None:
    """Rolling deployments: keys [new, old] first, [old, new] next, never that at once."""
    old, new = secrets.token_hex(32), secrets.token_hex(32)

    def accepted(signing: list[str], verifying: list[str]) -> bool:
        try:
            TimestampSigner(verifying).unsign(TimestampSigner(signing).sign(b"alice"))
        except BadSignature:
            return False
        return True

    assert not accepted([old, new], [old]), "a process not deployed yet logs alice out"
    first, second = [new, old], [old, new]
    for one, other in (([old], first), (first, second)):
        assert accepted(one, other)
        assert accepted(other, one)
