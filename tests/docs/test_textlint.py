"""The check of the Japanese sees every text there is, and says where a wrong one stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from workerlab.catalog import ROOT

sys.path.insert(0, str(ROOT / "tools/textlint"))

import lint
import texts

pytestmark = pytest.mark.timeout(600)  # Node.js has to read a dictionary each time
needs_textlint = pytest.mark.skipif(
    not (lint.CACHE / "installed.json").exists(), reason="make lint-ja installs textlint"
)
PAGE = """---
title: 題
description: 説明にサーバがあります。
---

# 見出しが Python3つ { #id }

??? question "答えを見る"

    囲みの中もユーザの文です。

```python title="題にworker が 1 つ"
x = 1  # 注釈のワーカを数える
```

<figcaption>図の説明文である。</figcaption>

用語
:   説明の行も、フォルダに入ります。

正しい文です。コードの `サーバ` は見ません。
"""
SCRIPT = '''"""初めの行です。

誘惑: これはサーバを増やすだけである。
"""

SQL = """
CREATE TABLE t (id INTEGER)  -- 表にid を置く
"""
LABEL = "返したDB の数"


def f(n: int) -> str:
    """関数の文です。"""
    return f"{n} 件のサーバ"  # 注釈もユーザを見る
'''
MESSAGES = """// @ts-check
export const MESSAGES = {
  ready: "すべてのワーカが答えます。",
};
export const count = (n) => `${n} 件の応答がフォルダにあります。`;
"""


def lines(found: list[str]) -> set[int]:
    """The lines of the messages."""
    return {int(message.split(":")[1]) for message in found}


@needs_textlint
@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("page.md", PAGE, {3, 6, 10, 12, 13, 16, 19}),
        ("bad.py", SCRIPT, {3, 7, 9, 14}),
        ("messages.js", MESSAGES, {3, 5}),
    ],
)
def test_wrong_texts_are_named_by_file_and_line(
    tmp_path: Path, name: str, source: str, wrong: set[int]
) -> None:
    """Wherever a text may stand, and nowhere else."""
    path = tmp_path / name
    path.write_text(source, "utf-8")
    found = lint.lint([path])
    assert all(message.startswith(f"{path}:") for message in found), found
    assert lines(found) == wrong, found


RULES = {
    "サーバを起動します。": "prh",
    "Python 3.13を使います。": "ja-spacing/ja-space-between-half-and-full-width",
    "**Python 3.13を使います。**": "ja-spacing/ja-space-between-half-and-full-width",
    "`uvicorn`を使います。": "ja-spacing/ja-space-around-code",
    "これは 1 つの答えである。": "ja-technical-writing/no-mix-dearu-desumasu",
    "値が見れます。": "ja-technical-writing/no-dropping-the-ra",
    "壊れますが、直りますが、遅いです。": "no-doubled-conjunctive-particle-ga",
    "速い、軽い、強い、長い、太いものです。": "ja-technical-writing/max-ten",
    "速いかもしれません。": "ja-technical-writing/ja-no-weak-phrase",
}
"""One wrong sentence for each rule that the site stands for."""


@needs_textlint
def test_rules_are_on(tmp_path: Path) -> None:
    """None of them is switched off by an allow-list that reaches too far."""
    path = tmp_path / "page.md"
    path.write_text("\n\n".join(RULES) + "\n", "utf-8")
    found = lint.lint([path])
    for line, rule in zip(range(1, 2 * len(RULES), 2), RULES.values(), strict=True):
        assert any(m.startswith(f"{path}:{line}:") and rule in m for m in found), (rule, found)


@needs_textlint
def test_command_fails_and_names_the_place(tmp_path: Path) -> None:
    """What `make lint-ja` runs ends with 1 when there is something to mend."""
    path = tmp_path / "page.md"
    path.write_text("サーバを起動します。\n", "utf-8")
    command = [sys.executable, str(ROOT / "tools/textlint/lint.py"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{path}:1: サーバ => サーバー")


def test_every_page_and_example_is_in_scope() -> None:
    """All pages, all Python files of the examples with Japanese, and the lab's two lists."""
    found = {path.relative_to(ROOT).as_posix() for path in texts.sources()}
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= found
    examples = {path for path in found if path.startswith("examples/")}
    assert {f"examples/{p.parent.name}/{p.name}" for p in ROOT.glob("examples/*/bad.py")} <= (
        examples
    )
    assert found >= {
        *("README.md", "CONTRIBUTING.md"),
        *("docs/assets/lab/messages.js", "docs/assets/lab/messages-idle.js"),
        *("docs/assets/search/search.js", "docs/assets/site/accessible.js"),
    }


def test_texts_stay_on_their_lines_and_nothing_is_lost() -> None:
    """Each source gives as many lines; of Japanese, only names in code are left out."""
    for path in texts.sources():
        source, text = path.read_text("utf-8"), texts.texts(path)
        assert text.count("\n") == source.count("\n"), path
        if path.suffix == ".py":
            kana = re.findall(r"[ぁ-ん]{2,}", source)
            assert len(re.findall(r"[ぁ-ん]{2,}", text)) >= len(kana), path


@needs_textlint
def test_a_file_that_textlint_does_not_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence of a file that was passed over would look like a clean one."""
    monkeypatch.setattr(lint, "textlint", lambda folder: [])
    path = tmp_path / "page.md"
    path.write_text("文です。\n", "utf-8")
    with pytest.raises(SystemExit, match="did not read"):
        lint.lint([path])
