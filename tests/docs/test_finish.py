"""What ``make site`` adds to the built pages: the policy, the list of pages, a useful 404."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workerlab import static
from workerlab.catalog import ROOT


@pytest.fixture(scope="module")
def finished(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages, without their assets, after the tools; in a copy of the project."""
    root = tmp_path_factory.mktemp("finished")
    (root / "tools").mkdir()
    (root / "docs").symlink_to(ROOT / "docs")
    shutil.copy(ROOT / "mkdocs.yml", root)
    shutil.copytree(site, root / "site", ignore=shutil.ignore_patterns("assets"))
    for tool in ("llms", "not_found", "policy"):
        script = shutil.copy(ROOT / "tools" / f"{tool}.py", root / "tools")
        subprocess.run([sys.executable, script], check=True, timeout=120)
    return root / "site"


def test_every_page_has_the_policy_before_anything_else(finished: Path) -> None:
    """Each page allows its own scripts by their hashes, and no other inline script."""
    pages = sorted(finished.rglob("*.html"))
    assert len(pages) > 30
    for path in pages:
        text = path.read_text(encoding="utf-8")
        (rules,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.+?)">', text)
        assert text.index("http-equiv") < text.index("<link"), path
        (scripts,) = re.findall(r"script-src ([^;]+)", rules)
        assert "unsafe-inline" not in scripts
        assert "'unsafe-eval'" not in rules
        assert "http" not in rules
        assert rules.startswith("default-src 'none'")
        assert not re.search(r"<[a-z][^>]* style=", text), f"{path}: the policy ignores it"


def test_headers_for_hosts_say_the_same(finished: Path) -> None:
    """``_headers`` allows what the pages allow, and forbids framing."""
    said = dict(static.headers(finished))
    assert said["X-Content-Type-Options"] == "nosniff"
    rules = said["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in rules
    for path in finished.rglob("*.html"):
        for digest in re.findall(r"'sha256-[^']+'", path.read_text(encoding="utf-8")):
            assert digest in rules


def test_site_without_headers_file_gets_none(tmp_path: Path) -> None:
    """``workerlab serve`` serves a site that was built without the tools, too."""
    assert static.headers(tmp_path) == []


def test_llms_txt_lists_every_page(finished: Path) -> None:
    """One line for each page: title, address of a page that exists, description."""
    text = (finished / "llms.txt").read_text(encoding="utf-8")
    assert text.startswith("# ワーカーラボ\n\n> ")
    lines = re.findall(r"^- \[(.+?)\]\((.+?)\): (.+。)$", text, re.M)
    assert len(lines) == text.count("\n- ")
    pages = {
        path.parent.relative_to(finished).as_posix() for path in finished.rglob("index.html")
    }
    assert {address.strip("./") or "." for _, address, _ in lines} == pages


def test_404_says_what_to_do_in_japanese(finished: Path) -> None:
    """The way home and to the search, no word of the theme's English."""
    text = (finished / "404.html").read_text(encoding="utf-8")
    assert "ページが見つかりません" in text
    assert "Not found" not in text
    assert 'href="/glossary/"' in text
