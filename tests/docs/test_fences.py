"""Every block that a reader can copy was run, or the test names it."""

import tomllib
from pathlib import Path

import pytest
import runners
import yaml
from pytest_examples import EvalExample

import fences
from fences import Fence
from workerlab.catalog import ROOT

PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
FENCES = [fence for page in PAGES for fence in fences.find(page)]


@pytest.mark.parametrize("fence", FENCES, ids=str)
def test_block_does_what_the_page_says(fence: Fence, eval_example: EvalExample) -> None:
    """Run it by its language; a language without a runner is a failure."""
    runners.run(fence, eval_example)


def test_there_are_blocks() -> None:
    """The collection is not empty by mistake."""
    assert {"python", "bash", "console", "diff"} <= {fence.language for fence in FENCES}


WRONG = (
    *(AssertionError, pytest.fail.Exception),
    *(ValueError, tomllib.TOMLDecodeError, yaml.YAMLError),
)
"""What a wrong block may raise: a NameError would be a bug of the runner."""


def fence(language: str, body: str) -> Fence:
    return Fence(path=Path("page.md"), line=1, language=language, info=language, body=body)


@pytest.mark.parametrize(
    ("language", "body"),
    [
        ("python", 'print("a")\n#> b'),
        ("python", "x = 1\n#> 999"),
        ("python", 'def f():\n    print("a")\n    #> a'),
        ("python", 'import sys\n\nsys.stdout.write("a")\n#> a'),
        ("python", 'raise ValueError("x")'),
        ("bash", "false"),
        ("bash", "true\nno-such-command"),
        ("bash", "cd 'open quote"),
        ("console", "$ echo a\nb"),
        ("console", "$ printf '× 破れた 12'\n× 成り立つ 13"),
        ("yaml", "a: [1"),
        ("toml", "a = "),
        ("json", "{a: 1}"),
        ("dockerfile", "FROM x\npip install y"),
        ("dockerfile", "RUN true"),
        ("requirements", "fastapi=0.165.0"),
        ("requirements", "# nothing"),
        ("ruby", "puts 1"),
        ("", "text"),
        ("python", '--8<-- "in_memory_counter/none.py"'),
        ("python", '--8<-- "in_memory_counter/bad.py:no-such-region"'),
        ("yaml", '--8<-- "mkdocs.yml"'),
    ],
)
def test_wrong_block_fails(language: str, body: str, eval_example: EvalExample) -> None:
    """Each runner can fail: stale output, wrong output, broken code, unknown language."""
    with pytest.raises((pytest.fail.Exception, Exception)):
        runners.run(fence(language, body), eval_example)


@pytest.mark.parametrize(
    ("language", "body"),
    [
        ("python", 'print("あ")\n#> あ'),
        ("python", "for i in range(2):\n    print(i)\n    #> 0\n    #> 1"),
        ("bash", "# a comment\ntrue \\\n  && true"),
        ("console", "$ echo a\na\n$ echo b; echo c\nb\nc"),
        ("yaml", "a: 1"),
        ("toml", "a = 1"),
        ("json", '{"a": 1}'),
        ("python", '--8<-- "in_memory_counter/bad.py:counter"'),
        ("requirements", "# why\nfastapi[standard]~=0.165.0  # because"),
        ("dockerfile", "FROM python:3.13-slim\nRUN pip install \\\n    x"),
    ],
)
def test_right_block_passes(language: str, body: str, eval_example: EvalExample) -> None:
    """And each can pass."""
    runners.run(fence(language, body), eval_example)


def test_numbers_of_a_race_may_differ_others_not() -> None:
    """Only observations of a violated run, of a bound, and worker shares are normalised."""
    same, differ = runners.normalise, runners.normalise
    assert same("x = 9  1  × 破れた") == same("x = 9  22 × 破れた")
    assert differ("x = 9  1  × 破れた") != differ("x = 8  1  × 破れた")
    assert same("x ≤ 9 1 ○ 成り立つ") == same("x ≤ 9 2 ○ 成り立つ")
    assert differ("x ≤ 9 1 ○ 成り立つ") != differ("x ≤ 8 1 ○ 成り立つ")
    assert differ("x 1 ○ 成り立つ") != differ("x 2 ○ 成り立つ")
    one = "x = 9 1 × 破れた\ny = 5 "
    assert same(one + "5 ○ 成り立つ") == same(one + "4 × 破れた")
    assert differ(one + "5 ○ 成り立つ") != differ("x = 9 9 ○ 成り立つ\ny = 5 5 ○ 成り立つ")
    other = "x = 9 9 ○ 成り立つ\ny = 5 4 × 破れた"
    assert runners.agree(one + "4 × 破れた", other)
    assert not runners.agree(one + "5 ○ 成り立つ", other)
    assert not runners.agree(one + "5 ○ 成り立つ", "x = 9 9 ○ 成り立つ")
    three, four = (
        f"{n} 個のワーカーが応答しました（{s} 件）。"
        for n, s in ((3, "1 / 2 / 3"), (4, "1 / 2 / 2 / 1"))
    )
    assert same(three) == same(four)
    assert runners.shares(three) == runners.shares(four) == [6]
