"""Every flag of uvicorn and gunicorn that pages, compose files or examples name exists."""

import re
from pathlib import Path

import pytest
from gunicorn.config import make_settings
from uvicorn.main import main as uvicorn_command

from workerlab.catalog import ROOT

FILES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.py")),
    *sorted(ROOT.glob("*compose*.yml")),
    *sorted(ROOT.glob("Dockerfile*")),
]
USE = re.compile(r"\b(?P<server>uvicorn|gunicorn) (?P<rest>[^\n`「」]*)")
FLAG = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]*|-[a-zA-Z])(?=[\s=`]|$)")


def known_flags() -> dict[str, set[str]]:
    """What the installed versions accept."""
    uvicorn_flags = {
        option
        for parameter in uvicorn_command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    gunicorn_flags = {flag for s in make_settings().values() for flag in s.cli or ()}
    return {"uvicorn": uvicorn_flags | {"--help"}, "gunicorn": gunicorn_flags | {"--help"}}


def unknown_flags(text: str) -> list[str]:
    """Flags behind a server's name, in the same line, that the server does not know."""
    known = known_flags()
    return [
        f"{use['server']} {flag}"
        for use in USE.finditer(text.replace("\\\n", " "))
        for flag in FLAG.findall(use["rest"])
        if flag not in known[use["server"]]
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_flags_exist(path: Path) -> None:
    """A flag that was renamed or removed is named here."""
    assert unknown_flags(path.read_text(encoding="utf-8")) == []


def test_an_invented_flag_is_noticed() -> None:
    """The check can fail, for both servers, long and short flags, over line ends."""
    assert unknown_flags("uvicorn main:app --worker 4") == ["uvicorn --worker"]
    assert unknown_flags("gunicorn main:app \\\n  -Z --workers 4") == ["gunicorn -Z"]
    assert unknown_flags("uvicorn main:app --workers 4 --reload") == []


def test_flags_are_found_at_all() -> None:
    """The pages do name flags."""
    text = "".join(path.read_text(encoding="utf-8") for path in FILES)
    assert any(FLAG.findall(use["rest"]) for use in USE.finditer(text))
