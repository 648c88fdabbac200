"""Moments: text and numbers give the same time, and one file converts them."""

from pathlib import Path

import pytest

from core.names import moment, moment_ns, moment_of_ms, reference_moment
from tests.support.syntax import our_files

ROOT = Path(__file__).resolve().parents[3]
#: The encoder of answers writes what orjson writes of a time.
PLACES = {Path("core/names/moments.py"), Path("api/http/json.py")}


def test_text_of_numbers() -> None:
    assert moment(0) == "1970-01-01T00:00:00.000Z"
    assert moment(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"
    assert moment_of_ms("1700000000123") == "2023-11-14T22:13:20.123Z"
    assert moment_of_ms("") is moment_of_ms(None) is None
    assert reference_moment(1_700_000_000.25) == "2023-11-14T22:13:20.250000+00:00"


def test_numbers_of_text() -> None:
    assert moment_ns("2023-11-14T22:13:20.250Z") == 1_700_000_000_250_000_000
    assert moment_ns("2023-11-14T23:13:20.000001+01:00") == 1_700_000_000_000_001_000
    assert moment_ns(reference_moment(1_700_000_000)) == 1_700_000_000 * 10**9


@pytest.mark.parametrize(
    ("text", "reason"),
    [("yesterday", "RFC 3339"), ("", "RFC 3339"), ("2023-11-14T22:13:20", "offset from UTC")],
)
def test_other_text_is_an_error(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        moment_ns(text)


def test_one_file_converts() -> None:
    users = {
        path.relative_to(ROOT)
        for room in ("core", "backends", "workers", "api", "deploy")
        for path in our_files(ROOT / room)
        if "isoformat(" in path.read_text("utf-8")
    }
    assert users == PLACES
