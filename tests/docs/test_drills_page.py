"""What docs/stacks/drills.md shows; tests/stacks plays the drills themselves."""

import datetime as dt
import json
import re

import pytest

from tools import drills
from tools.drill_acts import SLOW, SLOW_LINES
from tools.drill_load import CONNECTIONS, PATIENT, PLAIN
from workerlab.catalog import ROOT

PAGE = ROOT / "docs" / "stacks" / "drills.md"
RECORDED = json.loads((drills.FOLDER / "drills.json").read_text(encoding="utf-8"))


def test_tables_follow_from_the_recording() -> None:
    """Nothing was typed in, and promises have not changed since."""
    for path, text in drills.derived(RECORDED).items():
        assert path.read_text(encoding="utf-8") == text, "python -m tools.drills"
        assert f'--8<-- "drills/{path.name}"' in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "run"), zip(drills.DRILLS, RECORDED["runs"], strict=True))
def test_recorded_drill_kept_its_promises(name: str, run: dict[str, object]) -> None:
    """Each drill was recorded, with the promises that it makes today, and holds."""
    assert run["drill"] == name
    promises = [(p["name"], p["holds"]) for p in run["promises"]]  # type: ignore[attr-defined]
    assert promises == [(p.name, True) for p in drills.DRILLS[name].every]


def test_recording_was_made_with_the_pinned_versions() -> None:
    """The app's are those of its requirements."""
    pins = (ROOT / "examples" / "requirements.txt").read_text(encoding="utf-8")
    for name in ("FastAPI", "uvicorn", "gunicorn"):
        assert f"{name.lower()}=={RECORDED['versions'][name]}" in pins
    assert dt.date.fromisoformat(RECORDED["recorded_on"]) <= dt.datetime.now(dt.UTC).date()


def test_page_counts_as_the_drills_do() -> None:
    """Drills, connections, and orders in work."""
    text = PAGE.read_text(encoding="utf-8")
    assert f"{len(drills.DRILLS)} 通りの壊し方" in text
    assert f"{CONNECTIONS + PATIENT} 本の接続が" in text
    rows = re.findall(r"^\| (\d) 本 \|", text, re.MULTILINE)
    assert [int(row) for row in rows] == [PLAIN, PLAIN, PATIENT]
    assert f"5 秒かかる注文を {SLOW} 件" in text
    assert SLOW_LINES * 0.5 == 5
