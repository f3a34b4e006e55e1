"""What the pages' labs offer: only what a browser has."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest

from workerlab.catalog import ROOT, find


@pytest.fixture(scope="module")
def lab_topics() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lab_topics", ROOT / "tools/lab_topics.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_with_a_lab_can_be_played(lab_topics: ModuleType) -> None:
    """A lab is only on pages whose experiment needs nothing that the browser lacks."""
    texts = (page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    slugs = {slug for text in texts for slug in re.findall(r'<worker-lab topic="(\w+)">', text)}
    assert "in_memory_counter" in slugs
    for slug in slugs:
        topic = find(slug)
        assert lab_topics.lacks(topic, topic.experiment) == [], slug


@pytest.mark.parametrize(
    ("slug", "drill", "lacking"),
    [
        ("in_memory_counter", "valkey_restart", []),
        ("cache_stampede", "holder_killed", []),
        ("random_secret_key", "rotation", []),
        ("who_answers", "worker_paused", ["files", "kept_connection", "pause"]),
        ("who_answers", "without_parent", ["files", "kept_connection", "pause_supervisor"]),
        ("pool_exhaustion", "postgres_restart", ["postgres"]),
    ],
)
def test_drill_lacks(lab_topics: ModuleType, slug: str, drill: str, lacking: list[str]) -> None:
    """What a drill lacks is read off its needs and the calls of its traffic."""
    topic = find(slug)
    found = set(lab_topics.lacks(topic, topic.drill(drill)))
    assert found >= set(lacking)
    label, playable = lab_topics.offer(topic, topic.drill(drill))
    assert playable == (not lacking)
    assert (label == topic.drill(drill).title) == playable


def test_fakes_do_not_make_a_topic_unplayable(lab_topics: ModuleType) -> None:
    """Files that only a fake uses are nothing that the lab needs."""
    topic = find("session_store")
    assert "files" in topic.experiment.needs
    assert lab_topics.needs(topic) == ["redis"]
