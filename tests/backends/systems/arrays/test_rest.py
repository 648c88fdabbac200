"""What arrays say about waiting, and one end for everything a call does."""

import pytest

from backends.mounted.rest import ArrayEndpoint, deadline
from backends.mounted.rest.answers import PAUSE_SECONDS_MAX, pause_of, read
from core.errors import ConfigurationError, DeadlineExceeded, Unavailable

NOON = "Sat, 21 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": "-1"}, 0.0),
        ({"Retry-After": "86400"}, PAUSE_SECONDS_MAX),
        ({"Retry-After": "Sat, 21 Nov 2026 12:00:07 GMT", "Date": NOON}, 7.0),
        ({"Retry-After": "Sat, 21 Nov 2026 11:00:00 GMT", "Date": NOON}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"RateLimit-Reset": "2"}, 2.0),
        ({"Retry-After": "1", "RateLimit-Reset": "9"}, 1.0),
    ],
)
def test_pauses_are_read(headers: dict[str, str], seconds: float | None) -> None:
    assert pause_of(headers) == seconds


@pytest.mark.parametrize(
    ("status", "kind", "content"),
    [
        (200, "application/json", b""),
        (200, "text/html", b"<html>"),
        (502, "text/html", b"<html>"),
        (200, "application/json", b'{"cut": '),
        (503, "", b"later"),
    ],
)
def test_answers_that_are_none(status: int, kind: str, content: bytes) -> None:
    with pytest.raises(Unavailable):
        read(status, {"Content-Type": kind}, content)


def test_texts_of_refusals_and_empty_successes_are_answers() -> None:
    assert read(400, {"Content-Type": "text/plain"}, b"no such path").body == "no such path"
    assert read(204, {}, b"").body is None
    assert read(200, {"Content-Type": "application/hal+json"}, b"[2305843009213693952]").body == [
        2**61
    ]


def test_an_inner_end_is_never_later_than_the_outer() -> None:
    with deadline.within(600.0):
        with deadline.within(6000.0):
            assert deadline.left() <= 600.0
        with pytest.raises(DeadlineExceeded):
            deadline.rest(5000.0)
        with deadline.within(-1.0), pytest.raises(DeadlineExceeded):
            deadline.left()
        assert deadline.left() > 0
    with pytest.raises(LookupError):
        deadline.left()


@pytest.mark.parametrize("endpoint", ["http://array", "https://me:secret@array"])
def test_endpoints_that_are_not_safe(endpoint: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        ArrayEndpoint(endpoints=(endpoint,))
    assert "secret" not in error.value.detail
