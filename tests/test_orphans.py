"""No topic without page, test and recording; no page without topic; no test without words."""

import ast
import re
from pathlib import Path

import pytest
from mkdocs.utils.yaml import yaml_load

from workerlab import recording
from workerlab.catalog import ROOT, VARIANTS, Topic, topics

GENERAL_PAGES = {
    *("index.md", "paths.md", "glossary.md", "environment.md", "differences.md"),
    *("symptoms.md", "myths.md", "best_practices.md"),
    *(f"workers/{p}.md" for p in ("what_is_a_worker", "how_many_workers", "choose_a_server")),
    *(f"solutions/{page}.md" for page in ("choose_a_store", "middleware", "dependencies")),
    *("solutions/requirements.md", "solutions/openapi.md"),
    "notebooks/overview.md",
    *(f"notebooks/{path.stem}.md" for path in (ROOT / "notebooks").glob("*.ipynb")),
    *(f"stacks/{page}.md" for page in ("dev_stg_prod", "drills", "monitoring")),
    *(f"stacks/{page}.md" for page in ("more_machines", "kubernetes")),
}
"""Pages that are about no single topic."""
each_topic = pytest.mark.parametrize("topic", topics(), ids=lambda topic: topic.slug)


def nav_pages(entry: object) -> list[str]:
    """All paths in the ``nav`` of mkdocs.yml."""
    if isinstance(entry, str):
        return [entry]
    items = entry.values() if isinstance(entry, dict) else entry
    return [page for item in items for page in nav_pages(item)]  # type: ignore[union-attr]


def config() -> dict[str, object]:
    loaded = yaml_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def test_there_are_topics() -> None:
    """The list is not empty by mistake."""
    assert "in_memory_counter" in {topic.slug for topic in topics()}


@each_topic
def test_topic_has_everything(topic: Topic) -> None:
    """Examples, fakes, test, recording, page, and the page's place in the navigation."""
    for name in ("bad.py", "good.py", "experiment.py"):
        assert (topic.folder / name).is_file(), name
    assert topic.fakes, "no fakes/"
    assert topic.drills, "no DRILLS in experiment.py"
    assert (ROOT / "tests" / "examples" / f"test_{topic.slug}.py").is_file()
    paths = recording.Paths(topic=topic)
    for path in (paths.summary, *(paths.trace(v) for v in VARIANTS)):
        assert path.is_file(), path
    pages = [p for p in nav_pages(config()["nav"]) if Path(p).stem == topic.slug]
    assert len(pages) == 1, pages


@each_topic
def test_topic_names_itself(topic: Topic) -> None:
    """The slug inside is the slug outside."""
    assert topic.experiment.topic == topic.slug
    for name, drill in topic.drills.items():
        assert (drill.topic, drill.drill) == (topic.slug, name)


@each_topic
def test_every_fake_says_why(topic: Topic) -> None:
    """One sentence why it tempts, one why it fails."""
    for fake in topic.fakes:
        for text in (fake.summary, fake.temptation, fake.failure):
            assert text.count("。") == 1, (fake.name, text)
            assert text.endswith("。"), (fake.name, text)


@each_topic
def test_page_links_to_the_test_of_its_topic(topic: Topic) -> None:
    """The link at its foot leads to the file that the tests run, not to a copy."""
    line = (topic.folder / "recorded" / "verified.md").read_text(encoding="utf-8")
    (target,) = re.findall(r"\]\(/(\S+\.py)\)", line)
    assert (ROOT / "docs" / target).resolve() == (
        ROOT / "tests" / "examples" / f"test_{topic.slug}.py"
    )


@each_topic
def test_page_includes_its_examples(topic: Topic) -> None:
    """Both variants, both pictures, all tables: a page can't leave one out."""
    (name,) = (p for p in nav_pages(config()["nav"]) if Path(p).stem == topic.slug)
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    for part in (
        *(f"{topic.slug}/{v}.py:" for v in VARIANTS),
        *(f"{topic.slug}/{v}.svg" for v in VARIANTS),
        *(
            f"{topic.slug}/recorded/{path.name}"
            for path in recording.derived(topic)
            if path.parent.name == "recorded"
        ),
        *(f"{topic.slug}/recorded/{name}" for name in ("run-good.txt", "run-fake.txt")),
    ):
        assert part in page, f"{name} does not include {part}"


def test_every_page_is_of_a_topic_or_general() -> None:
    """And every page stands in the navigation."""
    pages = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")}
    assert pages == set(nav_pages(config()["nav"]))
    slugs = {topic.slug for topic in topics()}
    assert {Path(page).stem for page in pages - GENERAL_PAGES} <= slugs


def test_every_example_folder_is_a_topic() -> None:
    """A folder without experiment.py would be code that nothing runs."""
    folders = {p.name for p in (ROOT / "examples").iterdir() if p.is_dir()}
    assert folders - {"__pycache__"} == {topic.slug for topic in topics()}


def test_every_example_test_has_a_topic() -> None:
    """A test of a topic that is gone is dead."""
    tests = {p.stem.removeprefix("test_") for p in (ROOT / "tests/examples").glob("test_*.py")}
    assert tests == {topic.slug for topic in topics()}


def test_every_folder_has_its_purpose_written_down() -> None:
    """CONTRIBUTING.md has a line for each folder of the first level, hidden ones aside."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    ignored = {"site", "node_modules"}
    for folder in ROOT.iterdir():
        if folder.is_dir() and not folder.name.startswith(".") and folder.name not in ignored:
            assert f"`{folder.name}/" in text, folder.name


def test_every_test_says_what_it_shows() -> None:
    """Name = subject + behaviour; the docstring is that sentence."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"
