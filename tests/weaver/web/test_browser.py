"""The page in a real browser: what a person sees, drops, clicks and asks for, over a real web process and a real watch_inbox.

One window and one home for the whole file, which takes about 45 s; 20 of them are the silence after which the page calls
itself stale. Each test opens what it looks at, so that it runs alone as well.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from core.clock import SystemClock, iso
from core.jobs.job import Job, Reason
from core.jobs.pause import Pause, clear_paused, set_paused
from core.jobs.spool import Spool
from core.orders import QUEUE_OWNER, QUEUE_VERBS, answer, pending
from core.paths import Paths
from core.records import encode_pretty, read
from tests.core.home_files import beat, healthy, make_home, put_job
from tests.daemons.inbox_builder import BASE, make_tokenizer
from tests.weaver.cli.command import environment
from tests.weaver.web.browser import MISSING, Browser, driving
from tests.weaver.web.web_process import DEADLINE_S, WebProcess, running

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; apt-get install chromium-driver")
HOSTILE = "<img src=x onerror=alert(1)>"
CHAT = '{"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}\n'
VIEWS = ("status", "queue", "drop", "ledger", "lineage")


@contextmanager
def watching(paths: Paths) -> Iterator[None]:
    """Run the real watch_inbox until the block ends."""
    daemon = subprocess.Popen([sys.executable, "-m", "daemons", "watch_inbox"], env=environment(paths.home), cwd=paths.home)
    try:
        yield
    finally:
        daemon.terminate()
        daemon.wait(timeout=DEADLINE_S)


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    """A home in which the web process and watch_inbox run; the other programs only seem to."""
    folder = tmp_path_factory.mktemp("browser")
    paths = make_home(folder / "home")
    make_tokenizer(paths.model("tiny").checkpoint(BASE))
    healthy(paths, "web", "watch_inbox", "train_next")
    with running(paths) as web:
        yield web


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with driving(tmp_path_factory.mktemp("driver")) as browser:
        yield browser


@pytest.fixture
def page(factory: WebProcess, window: Browser) -> Browser:
    """The page, logged in by a link like that of `weaver open`, with all its logs empty."""
    window.emulate("Network.clearBrowserCookies")
    window.go("about:blank")
    window.log("browser")
    window.requested()
    window.go(login(factory))
    window.until_text("#about", str(factory.paths.home))
    return window


def address(web: WebProcess) -> str:
    return f"http://127.0.0.1:{web.port}"


def login(web: WebProcess) -> str:
    return f"{address(web)}/login#{web.ask('POST', '/api/login-code').json['code']}"


def look_at(page: Browser, view: str) -> None:
    page.click(f"nav a[href='#{view}']")
    page.until(lambda: page.sees(f"#{view}"), f"the view {view} is shown")


def rename(paths: Paths, job: str, name: str) -> None:
    """Give a job of this test the name that its file had."""
    path = Spool(paths).folder(job) / "job.json"
    path.write_bytes(encode_pretty(msgspec.structs.replace(read(Job, path), name=name)))


def drop(page: Browser, path: Path, content: str) -> None:
    path.write_text(content)
    page.type("#files", str(path))
    page.click("#form > button")


def test_link_logs_in_once_and_no_page_without_it(factory: WebProcess, window: Browser) -> None:
    window.emulate("Network.clearBrowserCookies")
    window.go(address(factory))
    assert "weaver open" in window.text("body")
    assert not window.sees("#status")
    link = login(factory)
    window.go(link)
    window.until_text("#about", str(factory.paths.home))
    assert window.run("return location.href") == f"{address(factory)}/"
    window.emulate("Network.clearBrowserCookies")
    window.go("about:blank")
    window.go(link)
    window.until_text("#said", "unknown, used or too old")


def test_change_of_the_factory_shows_without_reload(factory: WebProcess, page: Browser) -> None:
    page.run("window.isTheSame = true")
    page.until_text("#programs", "train_next works")
    beat(factory.paths, "train_next", note="step 41 of 99")
    page.until_text("#programs tr[data-key=train_next]", "step 41 of 99")
    put_job(factory.paths, "failed", "broken", number=1)
    page.until_text("#cards", "failed 1")
    assert page.run("return window.isTheSame")


def test_upload_ends_in_a_receipt_with_the_job_or_the_reason(factory: WebProcess, page: Browser, tmp_path: Path) -> None:
    look_at(page, "drop")
    with watching(factory.paths):
        drop(page, tmp_path / "good.jsonl", CHAT * 3)
        drop(page, tmp_path / "bad.jsonl", '{"question": "2+2?", "answer": "4"}\n' * 3)
        said = page.until_text("#receipts", "accepted, in normal")
        page.until_text("#receipts", "unknown_keys")
        job = next(job for job in Spool(factory.paths).list("normal") if job.endswith("-good"))
        assert job in said
        page.type("#prompt", "question")
        page.type("#completion", "answer")
        page.run("document.querySelector('#priority').value = 'high'")
        drop(page, tmp_path / "mapped.jsonl", '{"question": "3+3?", "answer": "6"}\n' * 3)
        page.until_text("#receipts", "accepted, in high")
    page.click("#receipts li:last-child button")
    page.until_text("#job", job)


def test_removing_asks_first_and_an_order_says_that_it_waits(factory: WebProcess, page: Browser) -> None:
    paths = factory.paths
    job = put_job(paths, "low", "unwanted", number=2)
    look_at(page, "queue")
    page.click(f"tr[data-key='{job}'] button[data-verb=rm]")
    page.click("#no")
    page.until(lambda: not page.sees("#sure"), "the question is gone")
    assert Spool(paths).find(job) == "low"
    page.click(f"tr[data-key='{job}'] button[data-verb=promote]")
    page.until_text("#answer", "it is now in high")
    page.click(f"tr[data-key='{job}'] button[data-verb=rm]")
    page.until_text("#sure", "unwanted.jsonl")
    page.click("#yes")
    page.until_text("#answer", "it is now in rejected")
    assert Spool(paths).find(job) == "rejected"
    page.click("#states button[data-view=rejected]")
    page.click(f"tr[data-key='{job}'] button.link")
    page.until_text("#about-job", "removed")
    for verb in reversed(QUEUE_VERBS):
        page.click(f"#orders button[data-verb={verb}]")
        page.until_text("#answer", f"{verb}: ordered as")
    waiting = pending(paths, QUEUE_OWNER)
    assert [order.verb for order in waiting] == list(reversed(QUEUE_VERBS))
    answer(paths, QUEUE_OWNER, waiting[0], False, "a former order")
    answer(paths, QUEUE_OWNER, waiting[-1], True, f"paused at step 7 {HOSTILE}")
    page.until_text("#answer", f"pause: paused at step 7 {HOSTILE}")
    set_paused(paths, Pause(verb="pause", by="test", at=iso(SystemClock().now())))
    page.until_text("#paused", "nothing is claimed")
    clear_paused(paths)


def test_silent_server_makes_the_page_say_that_it_is_stale_until_it_speaks_again(factory: WebProcess, page: Browser) -> None:
    page.until_text("#programs", "train_next")
    assert not page.sees("#stale")
    factory.process.send_signal(signal.SIGSTOP)
    try:
        said = page.until(lambda: page.sees("#stale") and page.text("#stale"), "the page is called stale", deadline_s=45)
        assert "Stale since 2" in str(said)
    finally:
        factory.process.send_signal(signal.SIGCONT)
    page.until(lambda: not page.sees("#stale"), "the page is live again")


def test_server_that_only_says_it_is_still_here_makes_the_overview_stale(factory: WebProcess, page: Browser) -> None:
    quiet, before, after = page.run("""
        return import("/static/stream.js").then(async ({ Stream }) => {
          const [real, realFetch, bytes] = [performance.now.bind(performance), window.fetch, new TextEncoder()];
          let passed = 0, send;
          performance.now = () => real() + passed;
          window.fetch = async () => ({ ok: true, body: new ReadableStream({ start: (to) => { send = to; } }) });
          try {
            const stream = new Stream(() => {});
            stream.follow();
            const tell = async (text) => {
              send.enqueue(bytes.encode(text));
              await new Promise((resume) => setTimeout(resume, 50));
            };
            await new Promise((resume) => setTimeout(resume, 50));
            await tell('event: snapshot\\nid: 1\\ndata: {}\\n\\n');
            const before = stream.isStale;
            passed = 25000;
            await tell(": still here\\n\\n");
            return [stream.quiet, before, stream.isStale];
          } finally {
            [performance.now, window.fetch] = [real, realFetch];
          }
        });
    """)
    assert quiet < 10
    assert (before, after) == (False, True)


def test_lost_connection_is_said_at_once_and_is_made_again(tmp_path: Path, window: Browser) -> None:
    paths = make_home(tmp_path / "home")
    with running(paths) as web:
        port = str(web.port)
        window.go(login(web))
        window.until_text("#about", "no Weaver runs")
    window.until_text("#stale", "Weaver does not answer")
    assert window.sees("#stale")
    (paths.status / "endpoints" / "web.json").unlink()
    with running(paths, WEAVER_WEB_PORT=port):
        window.until(lambda: not window.sees("#stale"), "the page is live again")


def test_names_and_notes_of_others_are_only_text(factory: WebProcess, page: Browser) -> None:
    beat(factory.paths, "train_next", note=HOSTILE)
    job = put_job(factory.paths, "rejected", "hostile", number=3, reason=Reason(code="unknown_keys", message=HOSTILE))
    rename(factory.paths, job, HOSTILE)
    (factory.paths.status / "data_lineage.json").unlink(missing_ok=True)  # nobody keeps it: the web process adds up itself
    page.until_text("#programs", HOSTILE)
    look_at(page, "queue")
    page.click("#states button[data-view=rejected]")
    page.click(f"tr[data-key='{job}'] button.link")
    assert page.until_text("#job", f"unknown_keys: {HOSTILE}").startswith("close")
    look_at(page, "lineage")
    page.until_text("#generators", HOSTILE)
    assert page.run("return document.querySelectorAll('img').length") == 0
    assert page.log("browser") == []


def test_every_view_fits_narrow_and_wide_light_and_dark_and_asks_nobody_else(factory: WebProcess, page: Browser) -> None:
    rename(factory.paths, put_job(factory.paths, "normal", "long", number=4), "a_name_without_any_gap" * 9)
    shades = set()
    for width, scheme in ((360, "dark"), (360, "light"), (1400, "light"), (1400, "dark")):
        page.emulate("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        page.emulate("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        for view in VIEWS:
            look_at(page, view)
            page.until(lambda: page.run("return document.querySelectorAll('#queue tr').length") != 0, "the jobs are there")
            over = page.run("return document.documentElement.scrollWidth - innerWidth")
            assert over <= 0, f"{view} is {over} px wider than {width} px"
        shades.add((scheme, page.run("return getComputedStyle(document.body).backgroundColor")))
    assert len(shades) == 2
    assert len({shade for _, shade in shades}) == 2
    page.emulate("Emulation.clearDeviceMetricsOverride")
    asked = page.requested()
    assert f"{address(factory)}/api/lineage" in asked
    assert [one for one in asked if not one.startswith((address(factory), "data:"))] == []
    assert page.log("browser") == []


def test_page_is_worked_with_keys_alone(factory: WebProcess, page: Browser) -> None:
    look_at(page, "queue")
    nameless = page.run(
        "return [...document.querySelectorAll('button, input, select, [tabindex=\"0\"]')].filter((e) => !(e.innerText"
        " || e.getAttribute('aria-label') || (e.labels && e.labels.length))).map((e) => e.outerHTML)"
    )
    assert [html for html in nameless if "hidden" not in html] == []
    page.run("document.querySelector('#states button').focus()")
    page.type("#states button", "\ue004")
    assert page.run("return document.activeElement.dataset.view") == "completed"
    assert page.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
