"""The page 「ベストプラクティス」: a checklist without claims of its own."""

import re

import pytest

from helpers import file_of_tests, has_test
from workerlab.catalog import ROOT

PAGE = ROOT / "docs" / "best_practices.md"
ITEMS = re.findall(r"^- \*\*(.+?)\*\* (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

PROVED = [
    # ステートレス設計
    ["in_memory_counter::test_fake_is_caught"],
    ["choose_a_store::test_every_cell_of_the_page_is_proved_as_it_stands"],
    ["session_store::test_good_knows_the_user_everywhere_until_logout"],
    ["random_secret_key::test_server_ends_without_a_key"],
    [
        "per_process_cache::test_good_loads_once_and_forgets_everywhere",
        "local_cache_staleness::test_good_is_never_older_than_its_expiry",
    ],
    ["rate_limit_per_worker::test_bad_multiplies_the_limit"],
    ["websocket_broadcast::test_good_reaches_every_client"],
    ["worker_crash::test_good_saves_before_it_answers"],
    ["background_task_loss::test_good_keeps_every_promise_once"],
    [
        "lifespan_per_worker::test_good_migrates_once",
        "duplicate_scheduler::test_good_sends_one_mail_per_tick",
    ],
    # 適切なロック機構
    ["oversell::test_good_sells_a_hundred"],
    ["process_local_lock::test_good_numbers_without_gap_and_duplicate"],
    ["cache_stampede::test_lock_without_expiry_survives_its_holder"],
    ["distributed_lock::test_good_refuses_who_was_overtaken"],
    ["oversell::test_without_lock_timeout_nobody_is_answered"],
    ["oversell::test_fake_is_caught"],
    ["shared_db_connection::test_good_keeps_its_word"],
    [
        "file_append::test_good_keeps_every_line_and_number",
        "file_replace::test_good_is_always_whole",
    ],
    # モニタリング
    ["metrics_flicker::test_good_counts_all_workers"],
    ["metrics_flicker::test_child_exit_forgets_the_gauges_of_the_dead"],
    ["log_rotation::test_good_keeps_every_line"],
    ["blocked_event_loop::test_drill_ends_as_stated"],
    ["blocked_event_loop::test_gunicorn_kills_a_worker_whose_loop_is_blocked"],
    ["pool_exhaustion::test_good_stays_in_its_budget"],
    ["memory_per_worker::test_good_keeps_one_model_and_rss_does_not_show_it"],
    ["memcached_counter::test_memcached_says_how_much_it_evicted"],
    # エラーハンドリング
    [
        "per_process_cache::test_redis_py_waits_five_seconds_by_default",
        "memcached_counter::test_pymemcache_waits_for_ever_unless_told",
    ],
    [
        "rate_limit_per_worker::test_without_a_decision_the_answer_is_500",
        "per_process_cache::test_drill_fails_without_the_fallback",
        "session_store::test_drill_can_fail",
    ],
    ["fallback::test_good_answers_from_what_it_knew"],
    ["fallback::test_fake_is_caught"],
    ["retry_storm::test_good_stays_within_the_budget_and_charges_once"],
    ["retry_storm::test_only_what_may_pass_is_retried"],
    ["keepalive_race::test_good_lets_nginx_close_first"],
    ["pool_exhaustion::test_try_and_finally_mend_the_leak"],
    ["pool_exhaustion::test_without_pre_ping_the_drill_fails"],
    ["startup_failure::test_good_is_refused_before_a_worker_starts"],
    ["graceful_shutdown::test_good_loses_nothing_and_ends_in_time"],
    ["worker_crash::test_quarantine_stops_the_poison_after_two"],
    ["blocked_event_loop::test_fake_is_caught"],
    # 確かめ方
    ["differences::test_one_worker_hides_the_faults"],
    ["who_answers::test_bad_reloads_the_same_worker_four_times"],
]
"""For each item the tests behind the pages that it links to, both in the page's order."""


def test_every_item_is_bound_to_a_test() -> None:
    """As many proofs as items, and no statement twice: it is the key of its check mark."""
    assert len(ITEMS) == len(PROVED)
    assert len({statement for statement, _ in ITEMS}) == len(ITEMS)


@pytest.mark.parametrize(
    ("item", "proofs"),
    list(zip(ITEMS, PROVED, strict=False)),
    ids=lambda value: str(value[0])[:30],
)
def test_item_leads_to_what_proves_it(item: tuple[str, str], proofs: list[str]) -> None:
    """The item links to the very pages whose tests are named, and the tests are there."""
    statement, text = item
    assert statement.endswith("。")
    linked = re.findall(r"\]\((?:[\w-]+/)*(\w+)\.md", text)
    assert linked == [proof.split("::")[0] for proof in proofs]
    for proof in proofs:
        topic, name = proof.split("::")
        assert has_test(file_of_tests(topic), name)
