"""Every URL that the node or the documents print opens in a real browser, and needs no one else."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
import requests

from api.doors.pages import sections
from tests.api.client.chromium import Browser, browser
from tests.support.node import ROOT, Node
from tests.support.thoroughness import THOROUGH

pytestmark = pytest.mark.part("chromium")
#: Paths of a door that the documents name for browsers.
NAMED = re.compile(r"`(/(?:docs|redoc|openapi\.json))`")
#: The text that shows that a page is there and complete.
SHOWN = {
    "/docs": "Submit a job",
    "/redoc": "Submit a job",
    "/openapi.json": '"openapi"',
    "/metrics": "vfolder_volume_up",
    "/": "client-facing",
}


@dataclass(frozen=True)
class Opened:
    """What a browser met when it opened a URL."""

    status: int
    text: str
    asked: list[str]
    problems: list[str]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as made:
        for domain in ("Network", "Log", "Runtime"):
            made.call(f"{domain}.enable")
        yield made


def opened(chromium: Browser, url: str, shown: str) -> Opened:
    chromium.call("Page.navigate", url="about:blank")
    chromium.until("location.href === 'about:blank'")
    chromium.events.clear()
    chromium.open(url)
    chromium.until(f"document.body.innerText.includes({shown!r})")
    text = chromium.value("document.body.innerText")
    events = list(chromium.events)
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    answers = [e["params"]["response"] for e in events if e["method"] == "Network.responseReceived"]
    problems = [
        str(event["params"])
        for event in events
        if event["method"] in {"Log.entryAdded", "Runtime.exceptionThrown"}
        and "favicon" not in str(event["params"])  # a JSON or text page names no icon
    ]
    status = next(one["status"] for one in answers if one["url"] == url.partition("#")[0])
    return Opened(status, text, asked, problems)


def printed(node: Node) -> list[str]:
    """Every URL of the greeting that is for people: those in the commands are for curl."""
    greeting = "\n".join(node.greeting()).partition("Try next")[0]
    return re.findall(r"http\S+", greeting)


def named(node: Node) -> list[str]:
    """The paths that README and the documents name, at the doors that they name."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    paths = {path for page in pages for path in NAMED.findall(page.read_text("utf-8"))}
    assert paths == {"/docs", "/redoc", "/openapi.json"}
    manager, client = node.settings.api.manager, node.settings.api.client
    return [
        f"http://{door}{path}"
        for door in (manager.address, client.address, manager.internal_address)
        for path in sorted(paths)
    ]


def page_of(url: str) -> tuple[str, str, str]:
    """What a page is drawn from: its path, its text, and the document of its door.

    Doors that show the same document show the same pages. To draw one takes seconds of a core.
    """
    parts = urlsplit(url)
    answer = requests.get(url, timeout=60)
    assert answer.status_code == 200, url
    document = requests.get(f"http://{parts.netloc}/openapi.json", timeout=60).json()
    document.pop("servers", None)
    return parts.path, answer.text, json.dumps(document)


def test_every_printed_url_opens(stack: Node, chromium: Browser) -> None:
    flower = f"http://{stack.settings.vfolder.flower.address}"
    urls = [*printed(stack), *named(stack)]
    assert len(urls) >= 12
    drawn = set[tuple[str, str, str]]()
    for url in dict.fromkeys(urls):
        if url.startswith(flower):
            continue
        page = page_of(url)
        if page in drawn and not THOROUGH:
            continue
        drawn.add(page)
        client = urlsplit(url).netloc == str(stack.settings.api.client.address)
        path = urlsplit(url).path
        shown = "Download a file" if client and path in {"/docs", "/redoc"} else SHOWN[path]
        met = opened(chromium, url, shown)
        assert met.status == 200, url
        assert met.problems == [], url
        own = f"http://{urlsplit(url).netloc}/"
        foreign = [one for one in met.asked if not one.startswith((own, "data:", "blob:"))]
        assert foreign == [], url


def test_every_page_of_an_error_and_of_an_alert_opens(stack: Node, chromium: Browser) -> None:
    """Errors print `type`, and alerts `runbook_url`; their documents name the doors."""
    doors = {
        "problems": stack.settings.api.manager.address,
        "runbooks": stack.settings.api.manager.internal_address,
    }
    for kind, door in doors.items():
        names = sections(f"{kind}.md")
        assert len(names) > 15
        for name in names:
            met = opened(chromium, f"http://{door}/{kind}/{name}", name)
            assert (met.status, met.problems) == (200, []), name


def test_flower_opens_with_its_user(stack: Node, chromium: Browser) -> None:
    flower = stack.settings.vfolder.flower
    assert f"http://{flower.address}/" in printed(stack)
    chromium.open(f"http://{flower.user}:{flower.password}@{flower.address}/")
    chromium.until("document.title.includes('Flower')")


TYPE_SECRET = """
((secret) => {
  const field = document.querySelector(".auth-container input");
  const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set;
  set.call(field, secret);
  field.dispatchEvent(new Event("input", { bubbles: true }));
  document.querySelector(".auth-btn-wrapper .authorize").click();
  document.querySelector(".btn-done").click();
  return true;
})(%r)
"""


def click(chromium: Browser, selector: str) -> None:
    chromium.until(f"document.querySelector({selector!r}) !== null")
    chromium.value(f"document.querySelector({selector!r}).click()")


def test_swagger_ui_sends_a_request_with_the_secret_of_a_person(
    stack: Node, chromium: Browser
) -> None:
    manager = stack.settings.api.manager
    opened(chromium, f"http://{manager.address}/docs#/volumes/list_volumes", "Try it out")
    click(chromium, ".btn.authorize")
    chromium.until("document.querySelector('.auth-container input') !== null")
    chromium.value(TYPE_SECRET % manager.secret)
    click(chromium, ".try-out__btn")
    click(chromium, ".execute")
    chromium.until("document.body.innerText.includes('\"fsprefix\"')")
