"""Pages of the origins that the settings name may use the API; pages of other origins may not."""

from itertools import product

import pytest

from tests.api.people.conftest import People

NAMED = "https://ui.example"


@pytest.mark.parametrize("origin", [NAMED, "https://evil.example", "null", "http://localhost"])
def test_pages_of_named_origins_may_use_the_api_and_no_others(people: People, origin: str) -> None:
    named = origin == NAMED
    url = f"{people.door.url}/v1/me"
    asked = {"Origin": origin, "Access-Control-Request-Method": "PATCH"}
    preflight = people.door.session.options(url, headers=asked, timeout=60)
    person = people.person()
    read = people.door.session.get(url, headers={**person.headers, "Origin": origin}, timeout=60)
    for got in (preflight, read):
        assert got.headers["Cache-Control"] == "no-store"
        assert got.headers.get("Access-Control-Allow-Origin") == (origin if named else None)
        assert ("Access-Control-Allow-Credentials" in got.headers) is named
    assert preflight.ok
    assert read.status_code == 200  # the browser keeps the answer from the page
    sent = preflight.headers.get("Access-Control-Allow-Headers", "").lower().split(", ")
    assert ("authorization" in sent and "x-vfolder" in sent) is named
    methods = preflight.headers.get("Access-Control-Allow-Methods", "").split(", ")
    assert ("PATCH" in methods) is named


def test_no_cache_keeps_what_people_get(people: People) -> None:
    """A cache in front would answer others with it, where a cookie is the credential."""
    headers = people.person().headers
    for path, sent in product(("me", "nothing", "vfolders"), (headers, {})):
        url = f"{people.door.url}/v1/{path}"
        got = people.door.session.get(url, headers=sent, timeout=60)
        assert got.headers["Cache-Control"] == "no-store", (path, got.status_code)
