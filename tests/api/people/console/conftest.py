"""The console in a real browser: one Chromium for this room, and one context for each test."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

from core.names import VFolderId
from tests.api.people.conftest import People, Person
from tests.support.chromium import program
from tests.support.node import ROOT

AXE = ROOT / "tests/support/npm/node_modules/axe-core/axe.min.js"
#: A loaded machine meets this many times over (milliseconds).
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 360, "height": 740}
_AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@dataclass
class Console:
    """The console as people open it: what the browser reports is kept, and has to be nothing."""

    people: People
    browser: Browser
    owner: Person
    contexts: list[BrowserContext] = field(default_factory=list)
    #: Errors of pages, broken rules of their policy, and requests to other hosts.
    faults: list[str] = field(default_factory=list)
    #: Texts of expected errors.
    expected: list[str] = field(default_factory=list)

    def open(self, person: Person | None, path: str = "/console", *, phone: bool = False) -> Page:
        """A page of a new browser profile; a person is signed in."""
        context = self.browser.new_context(
            viewport=PHONE if phone else WIDE,  # type: ignore[arg-type] # a TypedDict
            has_touch=phone,
            accept_downloads=True,
        )
        context.set_default_timeout(PATIENCE_MS)
        self.contexts.append(context)
        page = context.new_page()
        host = urlsplit(self.people.door.url).netloc

        def only_the_door(url: str) -> None:
            if urlsplit(url).scheme in ("http", "https") and urlsplit(url).netloc != host:
                self.faults.append(f"a request to {url}")

        page.on("request", lambda request: only_the_door(request.url))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on(
            "console",
            lambda line: (
                self.faults.append(f"{line.text} {line.location['url']}")
                if line.type == "error"
                else None
            ),
        )
        if person:
            answer = context.request.post(
                f"{self.people.door.url}/v1/signin", headers=person.headers
            )
            assert answer.status == 204
        page.goto(f"{self.people.door.url}{path}")
        return page

    def folder(self, **files: str) -> VFolderId:
        """A folder of the owner with these files."""
        return self.people.vfolder(self.owner, **files)

    def link(self, page: Page, name: str) -> Locator:
        """A link of the navigation."""
        return page.get_by_role("navigation", name="Main").get_by_role(
            "link", name=name, exact=True
        )

    def check(self, page: Page) -> None:
        """Let axe-core look at a page: WCAG 2.2 AA."""
        page.evaluate(AXE.read_text("utf-8"))
        found = page.evaluate(
            "(tags) => axe.run(document, {runOnly: tags}).then((r) => r.violations.map("
            "(v) => [v.id, v.impact, v.nodes.map((n) => n.html.slice(0, 200))]))",
            _AXE_TAGS,
        )
        assert not found, found

    def end(self) -> None:
        for context in self.contexts:
            context.close()
        wrong = [one for one in self.faults if not any(text in one for text in self.expected)]
        assert not wrong, wrong


@pytest.fixture(scope="package")
def playwright_driver() -> Iterator[Playwright]:
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="package")
def chromium(playwright_driver: Playwright) -> Iterator[Browser]:
    browser = playwright_driver.chromium.launch(
        executable_path=program(), args=["--no-sandbox", "--disable-gpu"]
    )
    yield browser
    browser.close()


@pytest.fixture
def console(people: People, chromium: Browser) -> Iterator[Console]:
    made = Console(people, chromium, people.person())
    yield made
    made.end()
