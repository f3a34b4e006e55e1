"""What ``make site`` adds to the built pages: the policy, a list of pages, a 404, a version."""

import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tools import card, offline, social
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
    for tool in ("llms", "not_found", "social", "policy", "offline"):
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


def test_service_worker_knows_its_build(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its version changes with any file, however small, and with nothing else."""
    text = (finished / "sw.js").read_text(encoding="utf-8")
    (written,) = re.findall(r'^const VERSION = "([0-9a-f]{12})";$', text, re.M)
    copy = shutil.copytree(finished, tmp_path / "site")
    monkeypatch.setattr(offline, "SITE", copy)
    assert offline.version() == written
    (copy / "sitemap.xml").write_text("of another day", encoding="utf-8")
    assert offline.version() == written
    (copy / "glossary" / "index.html").touch()
    assert offline.version() == written
    with (copy / "glossary" / "index.html").open("a") as page:
        page.write(" ")
    assert offline.version() != written


def test_service_worker_knows_the_small_files_of_a_lab(site: Path) -> None:
    """What a started lab may load later; not the runtime, which is large, nor other topics."""
    pattern = r"(main|share|diff-view|session)\.js|lab_server\.py|lab-run\.css"
    found = {path.rsplit("/", 1)[1] for path in offline.lab_files(site)}
    assert sum(re.fullmatch(pattern, name) is not None for name in found) == 6
    assert not [name for name in offline.lab_files(site) if "runtime/" in name]


def test_hash_in_a_name_is_seen(site: Path) -> None:
    """The worker takes from its cache first only what has a hash in its name."""
    text = (site / "sw.js").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"^const NAMED_BY_CONTENT = /(.+)/;$", text, re.M)
    names = [f"/{path.relative_to(site)}" for path in site.rglob("*.*") if path.is_file()]
    hashed = {name for name in names if re.search(pattern.replace("\\/", "/"), name)}
    assert {n for n in hashed if "/assets/javascripts/bundle." in n}
    assert {n for n in hashed if "/assets/stylesheets/main." in n}
    own = (
        "/assets/site/",
        "/assets/search/search",
        "/assets/search/ja/",
        "/assets/recordings/",
    )
    assert not {n for n in hashed if n.startswith(own) or n.endswith((".html", ".py"))}
    assert not {n for n in hashed if re.fullmatch(r"/assets/lab/[\w-]+\.js", n)}


def test_every_page_says_what_a_link_to_it_shows(finished: Path) -> None:
    """Title and description of its own, in the head; no picture without the site's address."""
    pages = sorted(finished.rglob("index.html"))
    titles = set()
    for path in pages:
        head = path.read_text(encoding="utf-8").partition("</head>")[0]
        said = dict(re.findall(r'<meta property="og:(.+?)" content="(.+?)">', head))
        titles.add(said["title"])
        assert said["description"].endswith("。"), path
        assert "image" not in said
        assert '<meta name="twitter:card" content="summary">' in head
    assert len(titles) == len(pages)


@pytest.mark.parametrize("path", ["", "workers/who_answers/"])
def test_link_shows_the_card_where_the_site_knows_its_address(path: str) -> None:
    """The picture has a whole address, below a path too, and words for who can't see it."""
    home = "https://reader.example/lab/"
    page = f'<title>題 - x</title><link rel="canonical" href="{home}{path}">'
    said = dict(re.findall(r'og:(.+?)" content="(.+?)"', social.tags(page, path)))
    assert said["image"] == f"{home}assets/site/card.png"
    assert said["title"] == "題"
    assert said["image:alt"]
    assert "summary_large_image" in social.tags(page, path)


def test_card_is_drawn_from_what_the_home_page_shows(site: Path) -> None:
    """1200 by 630, not too heavy for a chat, and of today's words and recording."""
    picture = (site / social.CARD).read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture[16:24]) == card.SIZE == (1200, 630)
    assert len(picture) < 150_000
    drawn = card.DRAWN.read_text(encoding="utf-8").strip()
    assert drawn == card.digest(), "run .venv/bin/python tools/card.py"
