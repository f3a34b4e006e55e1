"""The lab in Debian's Firefox, over WebDriver BiDi (Playwright needs a Firefox of its own)."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="needs Playwright for Python")

from lab_site import LESSON, build_site, serving
from websockets.sync.client import ClientConnection, connect

from helpers import wait_until
from workerlab.catalog import ROOT

FIREFOX = Path("/usr/bin/firefox-esr")
PATIENCE = 600.0
"""Seconds; the first start of a browser takes long on a busy machine."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),  # a busy machine takes long to start browsers and workers
    pytest.mark.skipif(not FIREFOX.exists(), reason="needs Debian's firefox-esr"),
    pytest.mark.skipif(
        not (ROOT / "docs/assets/lab/runtime/manifest.json").exists(), reason="needs make lab"
    ),
]

LAB = "const lab = document.querySelector('worker-lab');"
PRESS = (
    "(role, name) => [...lab.querySelectorAll(role)].find(e => e.textContent === name).click()"
)
VERDICT = """(() => {
  const shown = (name) => lab.querySelector(`.wl-lab__${name}:not([hidden])`);
  return shown("verdict")?.dataset.kind ?? shown("problem")?.textContent ?? "";
})()"""


class Firefox:
    """One tab, and the few commands that the test sends to it."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self.call("session.new", capabilities={})
        self._tab = self.call("browsingContext.getTree")["contexts"][0]["context"]

    def call(self, method: str, **params: Any) -> Any:
        """Send a command and wait for its result."""
        ident = next(self._ids)
        self._socket.send(json.dumps({"id": ident, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=PATIENCE))
            if answer.get("id") == ident:
                assert answer["type"] == "success", answer
                return answer["result"]

    def goto(self, url: str) -> None:
        """Open a page."""
        self.call("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def look(self, expression: str) -> Any:
        """The value of a JavaScript expression in which ``lab`` is the page's lab."""
        answer = self.call(
            "script.callFunction",
            functionDeclaration=f"() => {{ {LAB} return {expression}; }}",
            target={"context": self._tab},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer
        return answer["result"].get("value")

    def press(self, role: str, name: str) -> None:
        """Click the lab's element with this selector and text."""
        self.look(f"({PRESS})({json.dumps(role)}, {json.dumps(name)})")


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with serving(tmp_path / "site") as address:
        build_site(tmp_path, address)
        yield address


@pytest.fixture
def firefox(tmp_path: Path) -> Iterator[Firefox]:
    """A fresh profile; the process ends with the test."""
    profile = tmp_path / "profile"
    profile.mkdir()
    process = subprocess.Popen(
        [
            *(FIREFOX, "--headless", "--no-remote", "--profile", profile),
            *("--remote-debugging-port", "0", "about:blank"),
        ],
        env={**os.environ, "HOME": str(profile)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        found = None
        for line in process.stderr:
            if found := re.search(r"listening on (ws://\S+)", line):
                break
        assert found, "Firefox did not start"
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        with connect(
            f"{found[1]}/session",
            proxy=None,
            max_size=None,
            open_timeout=PATIENCE,
            ping_interval=None,
        ) as socket:
            yield Firefox(socket)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize(("name", "kind"), [("bad.py", "broken"), ("good.py", "holds")])
def test_experiment_in_firefox(firefox: Firefox, url: str, name: str, kind: str) -> None:
    """Firefox plays the same lab: bad.py breaks, good.py holds."""
    firefox.goto(url + LESSON)
    firefox.look("lab.scrollIntoView()")
    built = "lab.querySelector('.wl-lab__frame') !== null"
    wait_until(lambda: firefox.look(built), "a lab", PATIENCE)
    firefox.look("lab.querySelector('[aria-label=\"ワーカーの数\"]').value = '2'")
    firefox.press("[role=tab]", name)
    firefox.press("button", "実行")
    assert wait_until(lambda: firefox.look(VERDICT), "a verdict", PATIENCE) == kind
