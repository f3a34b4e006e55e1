"""The page 「神話を壊す」: each claim has its test; what no other one shows is shown here."""

import importlib.util
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from gunicorn.config import Config as GunicornConfig
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker
from uvicorn import Config, Server

from helpers import has_test, named_tests
from workerlab.catalog import ROOT

PAGE = ROOT / "docs" / "myths.md"
TEXT = PAGE.read_text(encoding="utf-8")
CLAIMS = re.findall(r"^### × .+?(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)


def test_title_counts_the_claims() -> None:
    """The number in the first heading is the number of claims."""
    (number,) = re.findall(r"^# \D+(\d+)", TEXT, re.MULTILINE)
    assert int(number) == len(CLAIMS) == TEXT.count("### × ")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda text: text.partition("{ #")[2][:-1][:20])
def test_claim_has_what_is_right_and_a_test(claim: str) -> None:
    """Beside the refutation: what to say instead, and what keeps it true."""
    assert claim.count("- **正しくは**：") == claim.count("- **テスト**：") == 1
    (line,) = re.findall(r"^- \*\*テスト\*\*：(.+)$", claim, re.MULTILINE)
    assert re.fullmatch(r"`[\w/]+\.py::test_\w+`(、`[\w/]+\.py::test_\w+`)*", line)


@pytest.mark.parametrize(("file", "name"), sorted(set(named_tests(PAGE))))
def test_named_test_exists(file: str, name: str) -> None:
    """The page names a test that is there."""
    assert has_test(file, name)


def test_no_person_or_site_is_blamed() -> None:
    """The page is about claims: it links to nothing outside of this site."""
    assert re.findall(r"https?://", TEXT) == []


# -- what no other test shows ------------------------------------------------------------------


def gunicorn_limit(**settings: int) -> int:
    config = GunicornConfig()
    for name, value in settings.items():
        config.set(name, value)
    worker = Worker(0, 0, [], None, 30, config, Logger(config))
    worker.tmp.close()
    return worker.max_requests


def test_jitter_alone_sets_no_limit() -> None:
    """gunicorn and uvicorn add it to a limit; without one nothing ends a worker."""
    assert gunicorn_limit(max_requests_jitter=100) == sys.maxsize
    assert 1000 <= gunicorn_limit(max_requests=1000, max_requests_jitter=100) <= 1100
    alone = Config("main:app", limit_max_requests_jitter=100, log_config=None)
    assert Server(alone).limit_max_requests is None
    both = Config(
        "main:app", limit_max_requests=1000, limit_max_requests_jitter=100, log_config=None
    )
    limit = Server(both).limit_max_requests
    assert limit is not None
    assert 1000 <= limit <= 1100


RUN = """
import multiprocessing

import uvicorn
from fastapi import FastAPI

app = FastAPI()
lock = multiprocessing.Lock()

if __name__ == "__main__":
    uvicorn.run(app, port=0, workers=4)
"""


def test_workers_need_an_import_string(tmp_path: Path) -> None:
    """uvicorn.run with an object and workers=4 says what is wrong and ends with 3."""
    script = tmp_path / "main.py"
    script.write_text(RUN, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 3
    assert "You must pass the application as an import string" in done.stderr


def test_module_of_fastapi_cache2() -> None:
    """The package fastapi-cache2 has the module fastapi_cache, and no fastapi_cache2."""
    assert importlib.util.find_spec("fastapi_cache2") is None
    assert importlib.util.find_spec("fastapi_cache") is not None
    assert list(Path(sysconfig.get_path("purelib")).glob("fastapi_cache2-*.dist-info"))
