"""The console in Chromium: the first load, and frames while 100,000 entries scroll.

A real client door, Valkey and Chromium on this machine; a new browser profile for each round. A
trace of Chromium tells the longest task of the page's main thread, and the pauses between new
frames. Goals: 250 KiB, a first paint within 1 s, no pause over 50 ms. Reference: an empty page that
scrolls as far.
"""

import json
import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from benchmarks._places import options
from tests.api.people.conftest import MORE, People, Person, running_people

KIB = 1024
ANSWER_MS = 120_000
LONG_MS = 50.0
#: Frames of one scroll, over all rows.
STEPS = 300
_CATEGORIES = [
    "devtools.timeline",
    "disabled-by-default-devtools.timeline.frame",
    "toplevel",
    "blink.user_timing",
]
#: Scroll over the whole list, a step with each frame.
_SCROLL = """
(steps) => new Promise((done) => {
  const box = document.querySelector('.grid-box'), all = box.scrollHeight - box.clientHeight;
  let step = 0;
  performance.mark('scroll-begin');
  const next = () => {
    box.scrollTop = all * ++step / steps;
    if (step < steps) requestAnimationFrame(next);
    else requestAnimationFrame(() => { performance.mark('scroll-end'); done(); });
  };
  requestAnimationFrame(next);
})
"""
#: A list of the same height that needs no work of a script, and no rows.
_EMPTY = """
<style>.grid-box { height: 600px; overflow: auto } .all { height: 3600000px }</style>
<div class="grid-box"><div class="all"></div></div>
"""


@dataclass
class Scroll:
    """What a trace says of one scroll (milliseconds)."""

    pauses: list[float]
    longest_task: float


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=3, entries=100_000)
    with (
        tempfile.TemporaryDirectory() as place,
        running_people(Path(place), MORE) as people,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        owner, operator = people.person(), people.operator()
        _first_loads(browser, people, {"people": owner, "operators": operator}, chosen.rounds)
        _scrolls(browser, people, owner, chosen.entries, chosen.rounds)
        browser.close()


@contextmanager
def _signed_in(browser: Browser, people: People, person: Person) -> Iterator[BrowserContext]:
    """A new profile, in which a person is signed in."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(ANSWER_MS)
    context.request.post(f"{people.door.url}/v1/signin", headers=person.headers)
    yield context
    context.close()


def _first_loads(browser: Browser, people: People, who: dict[str, Person], rounds: int) -> None:
    addresses = {"people": "/console", "operators": "/console/op/overview"}
    print(f"{'first load':12} {'KiB':>8} {'requests':>9} {'first paint':>12} {'first part':>11}")
    for name, person in who.items():
        found = []
        for _ in range(rounds):
            with _signed_in(browser, people, person) as context:
                found.append(_load(context, people.door.url + addresses[name]))
        sizes, requests, paints, parts = zip(*found, strict=True)
        print(
            f"{name:12} {statistics.median(sizes) / KIB:8.1f} {statistics.median(requests):9.0f} "
            f"{statistics.median(paints):9.0f} ms {statistics.median(parts):8.0f} ms",
            flush=True,
        )


def _load(context: BrowserContext, url: str) -> tuple[float, float, float, float]:
    """Return bytes as sent, requests, and when the first paint and the first part were there."""
    page = context.new_page()
    sizes: list[float] = []
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda one: sizes.append(one["encodedDataLength"]))
    page.goto(url)
    page.locator("main h1").first.wait_for()
    expect(page.locator("main [aria-busy=true]")).to_have_count(0, timeout=ANSWER_MS)
    part: float = page.evaluate("performance.now()")
    paint: float = page.evaluate(
        "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    )
    return sum(sizes), len(sizes), paint, part


def _scrolls(browser: Browser, people: People, owner: Person, entries: int, rounds: int) -> None:
    vfolder = people.vfolder(owner)
    root = people.path(vfolder)
    for number in range(entries):
        os.close(os.open(root / f"file-{number:06}", os.O_CREAT | os.O_WRONLY))
    ours, reference = [], []
    for _ in range(rounds):
        with _signed_in(browser, people, owner) as context:
            page = context.new_page()
            page.goto(f"{people.door.url}/console/f/local:{vfolder.id}")
            page.get_by_text(f"{entries:,} entries", exact=True).wait_for()
            ours.append(_scrolled(browser, page))
            empty = context.new_page()
            empty.set_content(_EMPTY)
            reference.append(_scrolled(browser, empty))
    print(
        f"\n{'scroll':12} {'frames':>7} {'median':>9} {'p95':>9} {'longest':>9} {'over 50':>8} task"
    )
    _show(f"{entries:,}", ours)
    _show("empty", reference)


def _scrolled(browser: Browser, page: Page) -> Scroll:
    page.bring_to_front()
    browser.start_tracing(page=page, categories=_CATEGORIES)
    page.evaluate(_SCROLL, STEPS)
    return read_trace(json.loads(browser.stop_tracing())["traceEvents"])


def read_trace(events: list[dict[str, Any]]) -> Scroll:
    """Return the pauses between new frames, and the longest task, of the page that scrolled.

    A frame is new when its layers take the place of those before (`ActivateLayerTree`).
    """
    marks = {one["name"]: one for one in events if one["name"] in ("scroll-begin", "scroll-end")}
    begin, end = marks["scroll-begin"], marks["scroll-end"]
    inside = [one for one in events if begin["ts"] <= one.get("ts", 0) <= end["ts"]]
    own = [one for one in inside if one["pid"] == begin["pid"]]
    drawn = sorted(one["ts"] for one in own if one["name"] == "ActivateLayerTree")
    pauses = [(b - a) / 1000 for a, b in pairwise(drawn)]
    tasks = [
        one["dur"] / 1000
        for one in own
        if one["tid"] == begin["tid"] and one.get("dur") and "RunTask" in one["name"]
    ]
    return Scroll(pauses, max(tasks, default=0.0))


def _show(name: str, scrolls: list[Scroll]) -> None:
    pauses = sorted(pause for one in scrolls for pause in one.pauses)
    over = sum(pause > LONG_MS for pause in pauses)
    print(
        f"{name:12} {len(pauses) + len(scrolls):7} {statistics.median(pauses):6.1f} ms "
        f"{pauses[int(len(pauses) * 0.95)]:6.1f} ms {pauses[-1]:6.1f} ms {over:8} "
        f"{max(one.longest_task for one in scrolls):.1f} ms",
        flush=True,
    )
