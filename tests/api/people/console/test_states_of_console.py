"""Every page of the console in every state of its data: slow, wrong, offline, refused."""

import json
import random
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from tests.api.people.conftest import Person
from tests.api.people.console.conftest import Console
from tests.api.people.console.test_operators_of_console import PAGES as OPERATORS
from tests.support.thoroughness import times

pytestmark = [pytest.mark.part("chromium"), pytest.mark.part("npm-packages")]

#: Addresses below `/console`; `{ref}` is a folder, `{job}` a job of the person.
PEOPLE = (
    "",
    "/shared",
    "/groups",
    "/f/{ref}",
    "/find/{ref}?match=*.txt",
    "/jobs",
    "/jobs/{job}",
    "/trash",
    "/trash/{ref}",
    "/snapshots/{ref}",
    "/usage",
    "/account",
)
#: Routes whose answers are true in every state: who is signed in.
_KEPT = ("/v1/me", "/v1/signin", "/v1/events", "/v1/notices")


def problem(status: int, detail: str) -> Callable[[Route], None]:
    body = json.dumps({"status": status, "detail": detail, "request_id": "r-1"})
    return lambda route: route.fulfill(
        status=status, content_type="application/problem+json", body=body
    )


#: Requests that are not answered before their page is left.
_held: list[Route] = []
#: By state: what happens to a request, and what the page says then.
STATES: dict[str, tuple[Callable[[Route], None], str]] = {
    "slow": (_held.append, "Storage is slow to answer. Still waiting."),
    "wrong": (problem(503, "The disk is away."), "The disk is away."),
    "offline": (lambda route: route.abort(), "The service cannot be reached."),
    "refused": (problem(403, "This is not yours."), "This is not yours."),
}


def of_states(pages: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each page in each state; in a usual run each state with one page, by the seed of the run."""
    count = times(usual=len(STATES), thorough=len(pages) * len(STATES))
    if count > len(STATES):
        return [(page, state) for page in pages for state in STATES]
    return list(zip(random.sample(pages, count), STATES, strict=True))


def answering(act: Callable[[Route], None]) -> Callable[[Route], None]:
    """What answers the requests of a page: the door itself what is kept, else `act`."""

    def answer(route: Route) -> None:
        if urlsplit(route.request.url).path.startswith(_KEPT):
            route.continue_()
        else:
            act(route)

    return answer


def look(console: Console, person: Person, addresses: list[tuple[str, str]]) -> None:
    """Open each address in its state, in one page; each says what is, and keeps its frame."""
    console.expected += ["Failed to load resource", "503", "403"]
    page = console.open(person)
    url = console.people.door.url
    for address, state in addresses:
        act, text = STATES[state]
        page.route("**/v1/**", answering(act))
        page.goto(f"{url}/console{address}")
        where = f"{address} {state}"
        expect(page.get_by_text(text).first, where).to_be_visible()
        expect(page.get_by_role("navigation", name="Main"), where).to_be_visible()
        check(console, page, where)
        while _held:
            _held.pop().abort()
        page.unroute_all(behavior="wait")


def check(console: Console, page: Page, where: str) -> None:
    try:
        console.check(page)
    except AssertionError as error:
        raise AssertionError(f"{where}: {error}") from error


def test_people_read_what_is_in_every_state(console: Console) -> None:
    folder = console.folder(**{"a.txt": "a"})
    console.people.group(admins=(console.owner,))
    base = f"/v1/vfolders/local:{folder.id}"
    job = console.people.call(console.owner, "POST", f"{base}/usage").json()["id"]
    words = {"ref": f"local:{folder.id}", "job": job}
    pages = of_states(PEOPLE)
    look(console, console.owner, [(page.format(**words), state) for page, state in pages])


def test_operators_read_what_is_in_every_state(console: Console) -> None:
    one = {"people": f"people?user={console.owner.id}"}
    # The page of diagnostics asks for nothing before its button is pressed.
    names = [one.get(page, page) for page in OPERATORS if page != "diagnostics"]
    pages = of_states(tuple(f"/op/{name}" for name in names))
    look(console, console.people.operator(), pages)
