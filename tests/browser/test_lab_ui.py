"""The lab as a reader uses it, in headless Chromium, from a static server in a sub-path."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright", reason="needs Playwright for Python")

from lab_site import (
    CHROMIUM,
    LESSON,
    TOPIC,
    TWO_LABS,
    Reader,
    build_site,
    chromium,
    lesson,
    reading,
    serving,
    without_jspi,
    zipped,
)
from playwright.sync_api import Browser, expect

from workerlab.catalog import ROOT

LAB_FILES = ROOT / "docs" / "assets" / "lab"
AXE = ROOT / ".cache" / "editor" / "node_modules" / "axe-core" / "axe.min.js"
IDLE_BYTES = 15 * 1024
"""What a lab that was not started may add to a page, with gzip."""
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),  # a busy machine takes long to start browsers and workers
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium"),
    pytest.mark.skipif(
        not (LAB_FILES / "topics" / f"{TOPIC}.json").exists(), reason="needs make lab"
    ),
    pytest.mark.skipif(not AXE.exists(), reason="needs node tools/editor/build.mjs"),
]

SLOW = """import asyncio
import os

from fastapi import FastAPI

app = FastAPI()
visits = 0


@app.post("/visits")
async def add_visit() -> dict[str, int]:
    global visits
    visits += 1
    await asyncio.sleep(0.05)
    return {"visits": visits, "worker": os.getpid()}


@app.get("/visits")
async def read_visits() -> dict[str, int]:
    return {"visits": visits, "worker": os.getpid()}
"""
HELD = """import asyncio
import os
from contextlib import asynccontextmanager

import redis.asyncio as redis
from fastapi import FastAPI


@asynccontextmanager
async def lifespan(app):
    async with redis.from_url(os.environ["REDIS_URL"]) as app.state.redis:
        await app.state.redis.sadd("workers", os.getpid())
        yield


app = FastAPI(lifespan=lifespan)
visits = 0


@app.post("/visits")
async def add_visit() -> dict[str, int]:
    global visits
    visits += 1
    await asyncio.sleep(0.05)
    while visits > 60 and await app.state.redis.scard("workers") < 3:
        await asyncio.sleep(0.05)
    return {"visits": visits, "worker": os.getpid()}


@app.get("/visits")
async def read_visits() -> dict[str, int]:
    return {"visits": visits, "worker": os.getpid()}
"""
"""With two workers its run is not over before one was killed and a third has started."""
ENDLESS = SLOW.replace("    await asyncio.sleep(0.05)\n", "    while True:\n        pass\n")
RAISES = SLOW.replace("    await asyncio.sleep(0.05)\n", "    raise LookupError('棚にない')\n")
RAISING_LINE = RAISES.splitlines().index("    raise LookupError('棚にない')") + 1
BROKEN = SLOW.replace("global visits", "global visits =")
BROKEN_LINE = BROKEN.splitlines().index("    global visits =") + 1


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("plain")
    with serving(folder / "site") as address:
        build_site(folder, address)
        yield address


@pytest.fixture(scope="module")
def instant_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("instant")
    with serving(folder / "site") as address:
        build_site(folder, address, instant=True)
        yield address


@pytest.fixture
def reader(browser: Browser, url: str) -> Iterator[Reader]:
    with reading(browser, url) as opened:
        yield opened


def axe(reader: Reader) -> list[str]:
    """Violations inside the page's labs: rule and element."""
    if not reader.page.evaluate("'axe' in window"):
        reader.page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    found = reader.page.evaluate("axe.run('worker-lab')")
    return [
        f"{violation['id']}: {node['html'][:120]} {node['failureSummary'][-200:]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def overflow(reader: Reader) -> int:
    """Pixels by which the page is wider than the window."""
    return int(reader.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


# what it weighs


def test_page_far_from_its_lab_loads_only_the_mount(reader: Reader) -> None:
    """A page whose lab is below the window loads nothing of the runtime and no editor."""
    reader.page.goto(reader.url + LESSON, wait_until="networkidle")
    parts = {url.removeprefix(reader.url + "assets/lab/") for url in reader.requests}
    assert {"main.js", "lab.css"} <= parts
    assert not [part for part in parts if part.startswith(("runtime", "vendor", "topics"))]


def test_idle_lab_weighs_less_than_15_kb(reader: Reader) -> None:
    """A lab that is seen but not touched adds at most 15 KB, and no part of the runtime."""
    reader.open()
    reader.page.wait_for_load_state("networkidle")
    base = reader.url + "assets/lab/"
    parts = [url.removeprefix(base) for url in reader.requests if url.startswith(base)]
    assert "worker-lab.js" in parts
    assert not [part for part in parts if part.startswith(("runtime", "vendor", "cluster"))]
    assert sum(zipped(LAB_FILES / part) for part in set(parts)) <= IDLE_BYTES
    assert reader.workers() == 0


def test_idle_lab_says_how_much_it_will_load(reader: Reader) -> None:
    """Before the first run the reader sees the megabytes of the runtime that was built."""
    lab = reader.open()
    expect(lab.status).to_contain_text(f"約 {lesson()['runtime'] / 1e6:.1f} MB")


def test_progress_is_told_in_megabytes_and_steps(reader: Reader) -> None:
    """While the runtime comes in, the lab counts megabytes, workers and answers."""
    lab = reader.open().choose("bad.py", workers=2)
    lab.status.evaluate(
        """status => {
          window.seen = [];
          new MutationObserver(() => seen.push(status.textContent)).observe(
            status, { childList: true, subtree: true, characterData: true });
        }"""
    )
    lab.run()
    seen = reader.page.evaluate("seen")
    for pattern in ("MB", "ワーカー 1 / 2 を起動中", "1001 件中"):
        assert any(pattern in text for text in seen), (pattern, seen[:20])
    assert not any("数秒" in text for text in seen)


# bad, good, and the reader's own


def test_bad_turns_red(reader: Reader) -> None:
    """bad.py under four workers breaks two of three invariants; each worker has its lane."""
    lab = reader.open().choose("bad.py", workers=4)
    assert lab.run() == "broken"
    expect(lab.verdict).to_contain_text("3 つの不変条件のうち 2 つが破れました")
    observed = lab.observed()
    accepted, last_read, _ = lesson()["invariants"]
    assert observed[accepted["label"]] == "○ 1000"
    last = int(observed[last_read["label"]].removeprefix("× "))
    assert 0 < last < 1000
    counts = [
        int(n.removesuffix(" 件"))
        for n in lab.lanes.locator(".wl-lab__count").all_inner_texts()
    ]
    assert len(counts) == 4
    assert sum(counts) == 1001
    expect(lab.spoken).to_contain_text(f"{last_read['label']}は {last}")


def test_lanes_show_the_picture_of_the_engine(reader: Reader) -> None:
    """When a run is over, each lane holds the engine's staircase, inside its own box."""
    lab = reader.open().choose("bad.py", workers=2)
    lab.run()
    for plot in lab.lanes.locator("svg").all():
        line = plot.locator(".wl-value")
        expect(line).to_have_count(1)
        inside = line.evaluate(
            """line => {
              const [a, b] = [line, line.closest("svg")].map((e) => e.getBoundingClientRect());
              return a.top >= b.top - 2 && a.bottom <= b.bottom + 2 && a.width > b.width / 2;
            }"""
        )
        assert inside


def test_good_turns_green(reader: Reader) -> None:
    """good.py under four workers holds every invariant."""
    lab = reader.open().choose("good.py", workers=4)
    assert lab.run() == "holds"
    assert set(lab.observed().values()) == {"○ 1000"}


def test_edit_of_the_reader_turns_green_and_red(reader: Reader) -> None:
    """What the reader typed is what runs: a fix holds, and breaking it again breaks it."""
    good = lesson()["files"]["good"]
    lab = reader.open().type(good)
    lab.choose("あなたの版", workers=2)
    assert lab.run() == "holds"
    lab.type(good.replace('.incr("visits")', '.incr(f"visits:{os.getpid()}")'))
    assert lab.run() == "broken"


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5, 6])
def test_every_number_of_workers(reader: Reader, workers: int) -> None:
    """1 to 6 workers each have a lane; one worker alone proves nothing and the lab says so."""
    lab = reader.open().choose("bad.py", workers=workers)
    kind = lab.run()
    expect(lab.lanes).to_have_count(workers)
    assert kind == ("inconclusive" if workers == 1 else "broken")


def test_second_run_needs_no_second_download(reader: Reader) -> None:
    """A second run of the same page asks for no part of the runtime's data again."""
    lab = reader.open().choose("bad.py", workers=2)
    lab.run()
    del reader.requests[:]
    lab.choose("good.py")
    assert lab.run() == "holds"
    assert not [url for url in reader.requests if url.endswith((".wasm", ".gz"))]


# kill, stop, failures


def test_worker_killed_in_mid_run_restarts_without_its_memory(reader: Reader) -> None:
    """A killed worker keeps its lane, gets another pid, and its value begins again."""
    lab = reader.open().type(HELD).choose("あなたの版", workers=2).start()
    lane = lab.lanes.first
    pid = lane.get_by_text("pid").inner_text()
    lab.button("ワーカー 1 を kill").click()
    expect(lane).to_contain_text("再起動 1 回")
    expect(lane).to_contain_text("稼働中")
    assert lane.get_by_text("pid").inner_text() != pid
    lab.verdict.wait_for()
    assert lab.verdict.get_attribute("data-kind") == "broken"
    expect(lane.locator(".wl-kill")).to_have_count(1)
    expect(lane.locator(".wl-value")).to_have_count(2)
    # of the trace, as a recorded run has it
    expect(lab.verdict).to_contain_text(
        re.compile(r"実行中に kill：ワーカー 1（\d+\.\d\d 秒）")
    )
    expect(lab.spoken).to_contain_text("実行中に kill：ワーカー 1")


def test_request_by_hand_finds_the_killed_worker_empty(reader: Reader) -> None:
    """After a run the workers still live; when all were killed, the app knows of nobody."""
    lab = reader.open().choose("bad.py", workers=2)
    lab.run()
    lab.button("GET /visits をもう 1 回送る").click()
    answers = lab.host.locator(".wl-lab__answers li")
    expect(answers).to_have_count(1)
    assert '"visits":0,' not in answers.first.inner_text()
    for number in (1, 2):
        lab.button(f"ワーカー {number} を kill").click()
        expect(lab.lanes.nth(number - 1)).to_contain_text("再起動 1 回")
        expect(lab.lanes.nth(number - 1)).to_contain_text("稼働中")
    lab.button("GET /visits をもう 1 回送る").click()
    expect(answers).to_have_count(2)
    expect(answers.first).to_contain_text('"visits":0,')


def test_kill_after_the_run_is_not_part_of_it(reader: Reader) -> None:
    """The verdict tells of the workers that were killed while the traffic ran, of no other."""
    lab = reader.open().choose("bad.py", workers=2)
    lab.run()
    lab.button("ワーカー 1 を kill").click()
    expect(lab.lanes.first).to_contain_text("再起動 1 回")
    expect(lab.verdict).not_to_contain_text("実行中に kill")


def test_drill_is_chosen_played_and_left(reader: Reader) -> None:
    """A drill shows good.py and its own table; the page's experiment can be chosen again."""
    ((_, title, _),) = lesson()["drills"]
    lab = reader.open().choose("bad.py", workers=2)
    table = lab.host.get_by_role("table")
    lab.play(title)
    expect(lab.host.get_by_role("tab", name="good.py")).to_have_attribute(
        "aria-selected", "true"
    )
    expect(table).to_contain_text("停止中に 500 で断った加算")
    assert lab.run() == "holds"
    expect(lab.verdict).to_contain_text("301 件")
    lab.play("")
    expect(table).not_to_contain_text("停止中に 500 で断った加算")
    expect(lab.verdict).to_be_hidden()
    lab.choose("bad.py")
    assert lab.run() == "broken"


def test_drill_that_the_lab_cannot_play_says_why(reader: Reader) -> None:
    """A drill that needs what a browser lacks is shown, cannot be chosen, and says why."""

    def paused(route: object) -> None:
        data = route.fetch().json()  # type: ignore[attr-defined]
        why = "止まる（ワーカーの一時停止が要るため、ここでは動きません）"
        route.fulfill(json={**data, "drills": [["stop", why, False]]})  # type: ignore[attr-defined]

    reader.context.route(f"**/topics/{TOPIC}.json", paused)
    choice = reader.open().host.get_by_label("実験", exact=True)
    option = choice.get_by_role("option", name="止まる")
    expect(option).to_be_disabled()
    expect(option).to_contain_text("ワーカーの一時停止が要るため")


def test_endless_loop_is_stopped(reader: Reader) -> None:
    """停止 ends workers that are in an endless loop; the next run works."""
    lab = reader.open().type(ENDLESS).choose("あなたの版", workers=2)
    lab.button("実行").click()
    expect(lab.lanes.get_by_text("稼働中")).to_have_count(2)
    lab.button("停止").click()
    expect(lab.status).to_contain_text("停止しました")
    reader.wait_for_no_workers()
    lab.choose("bad.py")
    assert lab.run() == "broken"


def test_stop_while_loading_leaves_nothing(reader: Reader) -> None:
    """停止 right after 実行 leaves no worker behind."""
    lab = reader.open().choose("bad.py", workers=4)
    lab.button("実行").click()
    reader.wait_until(lambda: reader.workers() > 0, "a first worker")
    lab.button("停止").click()
    reader.wait_for_no_workers()
    expect(lab.button("実行")).to_have_attribute("aria-disabled", "false")


def test_syntax_error_is_shown_before_anything_starts(reader: Reader) -> None:
    """A syntax error names the line, marks it, and no request is sent."""
    lab = reader.open().type(BROKEN).choose("あなたの版", workers=2)
    lab.button("実行").click()
    expect(lab.problem).to_contain_text("構文エラー")
    expect(lab.problem).to_contain_text(f"{BROKEN_LINE} 行目")
    expect(lab.host.locator(".wl-lab__badline")).to_have_text("    global visits =")
    expect(lab.verdict).to_be_hidden()
    expect(lab.lanes).to_have_count(0)
    lab.type(SLOW)
    expect(lab.host.locator(".wl-lab__badline")).to_have_count(0)


def test_exception_shows_the_line_of_the_reader(reader: Reader) -> None:
    """An exception in a request shows its traceback and marks the line that raised it."""
    lab = reader.open().type(RAISES).choose("あなたの版", workers=2)
    lab.run()
    expect(lab.problem).to_contain_text("LookupError: 棚にない")
    expect(lab.problem).to_contain_text(f"あなたの版の {RAISING_LINE} 行目")
    expect(lab.problem.locator("pre")).to_contain_text("raise LookupError('棚にない')")
    expect(lab.host.locator(".wl-lab__badline")).to_have_text(
        "    raise LookupError('棚にない')"
    )


def test_log_of_each_worker(reader: Reader) -> None:
    """The log has what a worker printed and answered, for all workers or for one."""
    lab = reader.open().type(
        SLOW.replace("    await asyncio.sleep(0.05)\n", "    print('数えた')\n")
    )
    lab.choose("あなたの版", workers=2).run()
    lab.host.get_by_role("button", name="ログ（").click()
    log = lab.host.get_by_role("region", name="ワーカーのログ")
    expect(log).to_contain_text("数えた")
    lab.host.get_by_label("表示するログ").select_option(label="ワーカー 2")
    expect(log).to_contain_text('"POST /visits HTTP/1.1" 200')


# the edit is kept, and shared


def test_edit_survives_a_reload(reader: Reader) -> None:
    """An edit is there again after a reload, and 初期状態に戻す brings the lesson back."""
    reader.open().type(SLOW)
    lab = reader.open()
    assert lab.code() == SLOW.rstrip("\n")
    expect(lab.host.get_by_label("編集あり")).to_be_visible()
    lab.button("初期状態に戻す").click()
    assert lab.code() == lesson()["files"]["bad"].rstrip("\n")
    assert reader.open().choose("あなたの版").code() == lesson()["files"]["bad"].rstrip("\n")


def test_reset_can_be_undone(reader: Reader) -> None:
    """元に戻す takes back 初期状態に戻す."""
    lab = reader.open().type(SLOW)
    lab.button("初期状態に戻す").click()
    lab.button("元に戻す").click()
    assert lab.code() == SLOW.rstrip("\n")


def test_plain_field_keeps_an_edit_without_codemirror(reader: Reader) -> None:
    """Where the editor's bundle cannot be had, a text field does: typed, undone, kept."""
    reader.context.route("**/vendor/**", lambda route: route.fulfill(status=404))
    lab = reader.open().choose("あなたの版")
    field = lab.host.locator("textarea")
    field.fill(SLOW)
    assert reader.open().code() == SLOW.rstrip("\n")
    field.press("Control+End")
    field.press_sequentially("# a")
    lab.button("元に戻す").click()
    assert lab.code() == f"{SLOW}# ".rstrip("\n")


def test_changed_lesson_is_told(reader: Reader) -> None:
    """When the lesson changed after the edit, the reader is told, can compare, and keep it."""
    lab = reader.open().type(SLOW)
    reader.page.evaluate(
        """() => {
          const key = Object.keys(localStorage).find((key) => key.startsWith("workerlab:"));
          const edit = JSON.parse(localStorage[key]);
          localStorage[key] = JSON.stringify({ ...edit, version: "old" });
        }"""
    )
    lab = reader.open()
    expect(lab.notice).to_contain_text("教材のコードが変わりました")
    assert lab.code() == SLOW.rstrip("\n")
    lab.notice.get_by_role("button", name="違いを見る").click()
    expect(lab.host.get_by_role("region", name="bad.py との違い")).to_contain_text(
        "sleep(0.05)"
    )
    lab.button("このまま使う").click()
    expect(reader.open().notice).to_be_hidden()


def test_link_carries_the_edit_and_does_not_run_it(browser: Browser, url: str) -> None:
    """A shared link opens the same code for another reader, who has to press 実行."""
    with reading(browser, url, permissions=["clipboard-read", "clipboard-write"]) as author:
        lab = author.open().type(SLOW)
        lab.button("リンクをコピー").click()
        expect(lab.notice).to_contain_text("コピーしました")
        link = author.page.evaluate("navigator.clipboard.readText()")
    with reading(browser, url) as friend:
        lab = friend.open().type(ENDLESS)
        friend.page.goto("about:blank")
        friend.page.goto(link)
        lab = friend.lab()
        expect(lab.notice).to_contain_text("リンクから開いたコードです")
        assert lab.code() == SLOW.rstrip("\n")
        assert friend.workers() == 0
        assert not [each for each in friend.requests if "cluster.js" in each]
        lab.type(RAISES)
        friend.page.reload()
        lab = friend.lab()
        assert lab.code() == RAISES.rstrip("\n")
        lab.button("保存した版に戻る").click()
        assert lab.code() == ENDLESS.rstrip("\n")


def test_damaged_link_is_told(reader: Reader) -> None:
    """A link that was cut off says so and leaves the lesson."""
    lab = reader.open(f"{LESSON}#lab={TOPIC}.AAAA")
    expect(lab.notice).to_contain_text("読み取れませんでした")
    assert lab.code() == lesson()["files"]["bad"].rstrip("\n")


# one page, many pages


def test_two_labs_share_one_runtime(reader: Reader) -> None:
    """Running the second lab ends the workers of the first; the runtime is loaded once."""
    first = reader.open(TWO_LABS).choose("bad.py", workers=2)
    first.run()
    second = reader.lab(1).choose("good.py", workers=2)
    assert second.run() == "holds"
    expect(first.status).to_contain_text("もう 1 つのラボを実行したため")
    assert first.lanes.get_by_text("終了").count() == 2
    assert reader.workers() == 3  # two workers, and the client
    assert len([url for url in reader.requests if url.endswith("pyodide.wasm")]) <= 1
    ids = reader.page.evaluate(
        "[...document.querySelectorAll('worker-lab [id]')].map((e) => e.id)"
    )
    assert len(ids) == len(set(ids))


def test_instant_navigation_ends_a_run(browser: Browser, instant_url: str) -> None:
    """Leaving by instant navigation ends the workers; coming back gives a lab that runs."""
    with reading(browser, instant_url) as reader:
        reader.open().type(SLOW).choose("あなたの版", workers=2).start()
        reader.page.evaluate("window.samePage = true")
        reader.page.locator(".md-nav--primary").get_by_role("link", name="用語集").click()
        reader.page.wait_for_url("**/glossary/")
        reader.wait_for_no_workers()
        reader.page.go_back()
        reader.page.wait_for_url(f"**/{LESSON}")
        lab = reader.lab()
        assert lab.code() == SLOW.rstrip("\n")
        lab.choose("bad.py", workers=2)
        assert lab.run() == "broken"
        assert reader.page.evaluate("window.samePage") is True


def test_back_and_forward_end_a_run(reader: Reader) -> None:
    """Leaving by a page load ends the workers; going back gives a lab that runs."""
    reader.page.goto(reader.url + "glossary/")
    reader.open().type(SLOW).choose("あなたの版", workers=2).start()
    reader.page.go_back()
    reader.wait_for_no_workers()
    reader.page.go_forward()
    lab = reader.lab().choose("bad.py", workers=2)
    assert lab.run() == "broken"


# for everybody


def test_keyboard_alone_is_enough(reader: Reader) -> None:
    """Tabs, code, undo, run and kill work with the keyboard; Esc, Tab leaves the editor."""
    lab = reader.open()
    press = reader.page.keyboard.press
    lab.host.get_by_role("tab", name="bad.py").focus()
    press("ArrowLeft")
    expect(lab.host.get_by_role("tab", name="あなたの版")).to_be_focused()
    lab.host.locator(".cm-content").wait_for()
    for name in ("実験", "ワーカーの数", "実行", "停止"):
        press("Tab")
        expect(lab.host.get_by_label(name, exact=True).or_(lab.button(name))).to_be_focused()
    press("Tab")
    editor = lab.host.locator(".cm-content")
    expect(editor).to_be_focused()
    press("Control+Home")
    press("Tab")
    assert lab.code().startswith("    ")
    press("Escape")
    press("Tab")
    expect(lab.button("元に戻す")).to_be_focused()
    press("Enter")
    assert lab.code() == lesson()["files"]["bad"].rstrip("\n")
    press("Shift+Tab")
    expect(editor).to_be_focused()
    press("Control+Enter")
    lab.verdict.wait_for()
    kill = lab.button("ワーカー 1 を kill")
    kill.focus()
    press("Enter")
    expect(lab.lanes.first).to_contain_text("再起動 1 回")
    expect(kill).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_for_axe_to_find(browser: Browser, url: str, scheme: str) -> None:
    """axe finds nothing in a lab that waits, runs, has finished, or shows an exception."""
    with reading(browser, url, color_scheme=scheme) as reader:
        lab = reader.open()
        assert axe(reader) == []
        lab.type(SLOW).choose("あなたの版", workers=2).button("違いを見る").click()
        lab.start()
        assert axe(reader) == []
        lab.verdict.wait_for()
        lab.host.get_by_role("button", name="ログ（").click()
        assert axe(reader) == []
        lab.type(RAISES).run()
        assert axe(reader) == []


def test_reduced_motion_draws_once(browser: Browser, url: str) -> None:
    """With reduced motion the lanes stay still until the run is over, then show the picture."""
    with reading(browser, url, reduced_motion="reduce") as reader:
        lab = reader.open().type(HELD).choose("あなたの版", workers=2).start()
        expect(lab.lanes.first.locator(".wl-lab__value")).not_to_have_text("―")
        expect(lab.lanes.locator(".wl-value")).to_have_count(0)
        assert lab.verdict.is_hidden()
        lab.button("ワーカー 1 を kill").click()
        lab.verdict.wait_for()
        expect(lab.lanes.locator(".wl-value")).to_have_count(3)


def test_lanes_fill_while_the_run_goes_on(reader: Reader) -> None:
    """Without that wish the lanes fill during the run, from the left."""
    lab = reader.open().type(HELD).choose("あなたの版", workers=2).start()
    expect(lab.lanes.locator(".wl-value")).to_have_count(2)
    assert lab.verdict.is_hidden()
    lab.button("停止").click()


def test_phone(browser: Browser, url: str) -> None:
    """At 390 px the page does not scroll sideways, and two workers are the default."""
    with reading(browser, url, **PHONE) as reader:
        lab = reader.open()
        expect(lab.host.get_by_label("ワーカーの数")).to_have_value("2")
        assert overflow(reader) <= 0
        assert lab.run() == "broken"
        assert overflow(reader) <= 0
        lab.type(RAISES).run()
        assert overflow(reader) <= 0
        small = lab.host.get_by_role("button").evaluate_all(
            "all => all.filter((e) => e.offsetParent && e.offsetHeight < 24).length"
        )
        assert small == 0


# where it cannot run


def test_without_jspi_says_so(browser: Browser, url: str) -> None:
    """Without JSPI the lab runs and says that def endpoints run one after another."""
    with reading(browser, url) as reader:
        without_jspi(reader.context)
        lab = reader.open().choose("bad.py", workers=2)
        assert lab.run() == "broken"
        expect(lab.host.locator(".wl-lab__differs")).to_contain_text("def のエンドポイント")


def test_without_runtime_the_recording_stays(reader: Reader) -> None:
    """A site whose runtime was not built says so in one line and keeps its recording."""

    def unbuilt(route: object) -> None:
        data = route.fetch().json()  # type: ignore[attr-defined]
        route.fulfill(json={**data, "runtime": None})  # type: ignore[attr-defined]

    reader.context.route(f"**/topics/{TOPIC}.json", unbuilt)
    reader.page.goto(reader.url + LESSON)
    host = reader.page.locator("worker-lab")
    host.evaluate("element => element.scrollIntoView()")
    expect(host).to_have_text(
        "このサイトにはライブラボのランタイムがありません。記録をご覧ください。"
    )
    assert reader.page.locator(".wl-recording svg").count() > 0


def test_without_javascript_the_recording_stays(browser: Browser, url: str) -> None:
    """Without JavaScript the element is empty and takes no room."""
    with reading(browser, url, java_script_enabled=False) as reader:
        reader.page.goto(reader.url + LESSON)
        box = reader.page.locator("worker-lab").bounding_box()
        assert box is None or box["height"] == 0
        assert reader.page.locator(".wl-recording svg").first.is_visible()
