"""Pages that are left open: news by the stream, by polling without it, and after a silent break."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from playwright.sync_api import CDPSession, Locator, Page, Route, expect

from core.jobs.requests import UsageRequest
from core.jobs.store import JobStore, Submission
from core.names import QuotaScope, VFolderId
from core.quota import HiddenUsage, HiddenUsageStore
from core.redis import Database, connect
from tests.api.people.conftest import People, Person
from tests.api.people.console.conftest import PATIENCE_MS, WIDE, Console
from tests.support.cable import laid
from tests.support.node import wait_for

pytestmark = [pytest.mark.part("chromium"), pytest.mark.part("npm-packages")]
expect.set_options(timeout=PATIENCE_MS)

#: A page looks again so long after news (milliseconds), and by itself only after fifteen seconds.
AFTER_NEWS_MS = 1100
#: Longer than the silence after which a page begins its stream again (milliseconds).
SILENCE_MS = 45_000
#: So many looks after news are over before a page looks by itself.
LOOKS_WITHOUT_POLL = 12
UPDATED_JOBS, ROUNDS = 100, 10
#: What 1000 updates may leave behind (bytes): less than a third of their documents.
HEAP_GROWTH_MAX = 1 << 20
NODES_GROWTH_MAX = 2000
BUSY = {"detail": "Too many event streams are open.", "status": 503}


@pytest.fixture(scope="module", name="operator")
def operator_of(people: People) -> Person:
    return people.operator()


class News:
    """What the stream of a page brings, as the browser tells it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.heard: list[dict[str, Any]] = []
        self.session: CDPSession = page.context.new_cdp_session(page)
        self.session.send("Network.enable")
        self.session.on("Network.eventSourceMessageReceived", self.hear)

    def hear(self, event: dict[str, Any]) -> None:
        self.heard.append(event)

    def number(self, topic: str) -> int:
        self.page.wait_for_timeout(50)  # events come while the driver waits
        return sum(one["eventName"] == topic for one in self.heard)

    def after(self, topic: str, act: Callable[[], None], *, repeat: bool) -> None:
        """Act until news of a topic come: what is before its first comparison is no news."""
        before = self.number(topic)
        act()

        def came() -> bool:
            if self.number(topic) > before:
                return True
            if repeat:
                act()
                self.page.wait_for_timeout(500)
            return False

        wait_for(came, 60)


def live(page: Page) -> None:
    expect(page.get_by_text("Live", exact=True).first).to_be_visible()


def look_until_seen(page: Page, found: Locator) -> None:
    """Let a page look after news until it shows something; news of something else may be first."""
    for _ in range(LOOKS_WITHOUT_POLL):
        page.clock.run_for(AFTER_NEWS_MS)
        page.wait_for_timeout(1000)
        if found.count():
            break
    expect(found.first).to_be_visible()


@contextmanager
def resumed(people: People, operator: Person) -> Iterator[None]:
    try:
        yield
    finally:
        people.call(operator, "POST", "/v1/volumes/second/resume")
        people.call(operator, "POST", "/v1/nodes/node1/undrain")


def test_changes_come_by_the_stream_while_no_page_polls(console: Console, operator: Person) -> None:
    """The clock of the page stands still, so nothing but news makes it look."""
    people = console.people
    sender = people.person()
    vfolder = people.vfolder(sender)
    numbers = iter(range(1000))

    def pause() -> None:
        body = {"reason": f"pause {next(numbers)}"}
        people.call(operator, "POST", "/v1/volumes/second/pause", body)

    def drain() -> None:
        people.call(operator, "POST", "/v1/nodes/node1/undrain")
        time.sleep(2.5)  # a comparison between sees it
        people.call(operator, "POST", "/v1/nodes/node1/drain", {"reason": "test"})

    def upload() -> None:
        head = {
            "Tus-Resumable": "1.0.0",
            "Upload-Length": "9",
            "Upload-Metadata": "relativePath YQ==",
        }
        path = f"/v1/vfolders/{vfolder.id}/uploads"
        if next(numbers) % 2:
            head["Upload-Metadata"] = "relativePath Yg=="
        people.call(sender, "POST", path, headers=head)

    def count() -> None:
        people.call(sender, "POST", f"/v1/vfolders/{vfolder.id}/usage")

    with resumed(people, operator):
        for address, topic, act, shown in (
            ("volumes", "volumes", pause, "Paused"),
            ("nodes", "nodes", drain, "Drain"),
            ("uploads", "uploads", upload, sender.word),
            ("jobs", "jobs", count, "Count folder"),
        ):
            page = console.open(operator, f"/console/op/{address}")
            live(page)
            news = News(page)
            page.clock.install()
            page.reload()
            live(page)
            page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
            news.after(topic, act, repeat=topic != "jobs")
            look_until_seen(page, page.get_by_role("row").filter(has_text=shown))


def test_what_is_found_and_published_comes_by_the_stream(
    console: Console, operator: Person
) -> None:
    """The clock of the page stands still, so nothing but news makes it look."""
    people = console.people
    numbers = iter(range(1, 1000))

    def rescan() -> None:
        answer = people.call(operator, "POST", "/v1/volumes/local/rescan", {})
        assert people.ended(operator, answer.json()["id"])["state"] == "succeeded"

    def sweep() -> None:
        found = HiddenUsage(
            trash_bytes=next(numbers) << 40,
            trash_due_at=None,
            staging_bytes=0,
            staging_due_at=None,
            swept_at=time.time(),
        )
        with connect(people.settings, Database.JOBS) as client:
            HiddenUsageStore(client).keep("second", found)

    def publish() -> None:
        event = {"name": "disk_replaced", "source": "test", "payload": str(next(numbers))}
        with connect(people.settings, Database.EVENTS) as client:
            client.xadd("events", cast("dict[Any, Any]", event))

    for address, topic, act, shown in (
        ("orphans", "findings", rescan, re.compile("scopes? counted")),
        ("backlog", "findings", sweep, re.compile("TiB")),
        ("events", "events", publish, re.compile("disk_replaced")),
    ):
        page = console.open(operator, f"/console/op/{address}")
        live(page)
        news = News(page)
        page.clock.install()
        page.reload()
        live(page)
        expect(page.get_by_role("main").get_by_text(shown)).to_have_count(0)
        page.clock.pause_at(page.evaluate("Date.now() / 1000 + 1"))
        news.after(topic, act, repeat=True)
        look_until_seen(page, page.get_by_role("main").get_by_text(shown))


def test_new_rows_wait_while_the_list_is_read(console: Console, operator: Person) -> None:
    people, owner = console.people, console.owner
    vfolder = people.vfolder(owner)

    def count() -> str:
        answer = people.call(owner, "POST", f"/v1/vfolders/{vfolder.id}/usage")
        return str(people.ended(owner, answer.json()["id"])["id"])

    for person, address in (
        (operator, f"/console/op/jobs?requester={owner.word}"),
        (owner, "/console/jobs"),
    ):
        before = count()
        page = console.open(person, address)
        rows = page.get_by_role("grid").locator(".grid-row")
        first = rows.first.get_by_role("link")
        expect(first).to_have_attribute("href", re.compile(before))
        number = rows.count()
        place = rows.first.bounding_box()
        rows.first.hover()
        count()
        later = count()
        button = page.get_by_role("button", name="Show 2 new rows")
        expect(button).to_be_visible()
        expect(first).to_have_attribute("href", re.compile(before))
        assert rows.first.bounding_box() == place
        console.check(page)
        button.click()
        expect(first).to_have_attribute("href", re.compile(later))
        expect(rows).to_have_count(number + 2)
        # The list is not read: the pointer and the focus are elsewhere.
        page.get_by_role("heading", level=1).click()
        shown = count()
        expect(first).to_have_attribute("href", re.compile(shown))


def test_a_job_changes_on_its_page_without_a_question(console: Console, operator: Person) -> None:
    people, owner = console.people, console.owner
    source, target = console.folder(big="x" * 30_000_000), console.folder()
    body = {"to": f"local:{target.id}", "bytes_per_second": 100_000}
    path = f"/v1/vfolders/local:{source.id}/transfer"
    job = people.call(owner, "POST", path, body).json()["id"]
    try:
        page = console.open(operator, f"/console/op/jobs/{job}")
        expect(page.locator(".health .state")).to_have_text("Running")
        live(page)
        page.context.route(f"**/v1/jobs/{job}", lambda route: route.abort())
        console.expected.append("Failed to load resource")
    finally:
        people.call(owner, "POST", f"/v1/jobs/{job}/cancel")
    expect(page.locator(".health .state")).to_have_text("Cancelled")


def test_without_a_stream_pages_poll_and_say_how_old_they_are(
    console: Console, operator: Person
) -> None:
    console.expected.append("503")
    people = console.people
    page = console.open(operator, "/console/op/volumes")

    def busy(route: Route) -> None:
        problem = "application/problem+json"
        route.fulfill(status=503, content_type=problem, body=json.dumps(BUSY))

    page.clock.install()
    page.context.route("**/v1/events?*", busy)
    page.reload()
    row = page.get_by_role("row", name="second")
    expect(row).to_contain_text("Ready")
    expect(page.get_by_text(re.compile("^updated .* ago$"))).to_be_visible()
    expect(page.get_by_text("Live", exact=True)).to_have_count(0)
    with resumed(people, operator):
        people.call(operator, "POST", "/v1/volumes/second/pause", {"reason": "New disks."})
        expect(row).to_contain_text("Paused")
        page.clock.fast_forward(SILENCE_MS)
        expect(page.get_by_text(re.compile("^Live updates stopped"))).to_be_visible()
        console.check(page)
        page.context.unroute("**/v1/events?*")
        page.clock.fast_forward(SILENCE_MS * 2)
        live(page)
        expect(page.get_by_text(re.compile("^Live updates stopped"))).to_have_count(0)
    expect(row).to_contain_text("Ready")


def test_a_connection_that_goes_away_without_a_word_is_made_again(
    console: Console, operator: Person
) -> None:
    people = console.people
    with laid(int(people.door.url.rpartition(":")[2])) as cable, resumed(people, operator):
        context = console.browser.new_context(viewport=WIDE)  # type: ignore[arg-type] # a TypedDict
        context.set_default_timeout(PATIENCE_MS)
        console.contexts.append(context)
        url = f"http://127.0.0.1:{cable.port}"
        answer = context.request.post(f"{url}/v1/signin", headers=operator.headers)
        assert answer.status == 204
        page = context.new_page()
        streams: list[str] = []
        page.on(
            "request",
            lambda one: streams.append(one.url) if "/v1/events" in one.url else None,
        )
        page.clock.install()
        page.goto(f"{url}/console/op/volumes")
        row = page.get_by_role("row", name="second")
        expect(row).to_contain_text("Ready")
        live(page)
        begun = len(streams)
        cable.cut()
        people.call(operator, "POST", "/v1/volumes/second/pause", {"reason": "Cable."})
        page.clock.fast_forward(SILENCE_MS)
        wait_for(lambda: page.wait_for_timeout(50) or len(streams) > begun, 60)
        expect(page.get_by_text("Live", exact=True)).to_have_count(0)
        assert "last_event_id=" in urlsplit(streams[-1]).query
        cable.mend()
        live(page)
        expect(row).to_contain_text("Paused")


def test_the_audit_log_says_that_it_has_newer_lines(console: Console, operator: Person) -> None:
    page = console.open(operator, "/console/op/audit")
    expect(page.get_by_role("row").nth(1)).to_be_visible()
    numbers = iter(range(1000))

    def act() -> None:
        body = {"reason": f"audit {next(numbers)}"}
        console.people.call(operator, "POST", "/v1/volumes/second/pause", body)

    with resumed(console.people, operator):
        News(page).after("audit", act, repeat=True)
    expect(page.get_by_text("There are newer lines")).to_be_visible()
    console.check(page)
    page.get_by_role("button", name="Refresh").click()
    expect(page.get_by_role("row").filter(has_text="audit 0").first).to_be_visible()


def waiting_jobs(store: JobStore, person: Person) -> list[str]:
    """Jobs that wait for a worker that serves their volume."""
    made = []
    for _ in range(UPDATED_JOBS):
        vfolder = VFolderId(QuotaScope.parse(f"user:{uuid4()}"), uuid4())
        request = UsageRequest(volume="second", vfolder=str(vfolder))
        made.append(store.submit(Submission(request, requester=person.word)).id)
    return made


def memory(session: CDPSession) -> tuple[int, int]:
    """The bytes of the heap and the nodes of the page that are in use."""
    for _ in range(2):  # what a finalizer lets go is collected by the second
        session.send("HeapProfiler.collectGarbage")
    nodes = session.send("Memory.getDOMCounters")["nodes"]
    return int(session.send("Runtime.getHeapUsage")["usedSize"]), int(nodes)


def test_a_thousand_live_updates_leave_the_memory_as_it_was(
    console: Console, operator: Person
) -> None:
    with connect(console.people.settings, Database.JOBS) as client:
        store = JobStore(client, lambda _: None)
        jobs = waiting_jobs(store, operator)
        try:
            page = console.open(operator, "/console/op/jobs?volume=second")
            expect(page.get_by_role("grid")).to_have_attribute(
                "aria-rowcount", str(UPDATED_JOBS + 1)
            )
            live(page)
            news = News(page)
            begin = (0, 0)
            for number in range(ROUNDS + 1):
                before = news.number("jobs")
                for job in jobs:
                    store.set_priority(job, 1 + number % 9)
                wait_for(lambda before=before: news.number("jobs") >= before + len(jobs), 60)
                if number == 0:  # what is made at the first update is no leak
                    begin = memory(news.session)
            end = memory(news.session)
        finally:
            for job in jobs:
                store.cancel(job)
    assert end[0] - begin[0] < HEAP_GROWTH_MAX, (begin, end)
    assert end[1] - begin[1] < NODES_GROWTH_MAX, (begin, end)
