"""The table of routes in docs/wire.md: complete, routed, and each held by a test that exists."""

import re
from pathlib import Path

import pytest

from api.app import manager_door
from core.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
ROW = re.compile(
    r"\| (?P<method>[A-Z]+) \| `(?P<path>/[^`]*)`[^|]*\|[^|]*"
    r"\| `(?P<file>[^:`]+)::(?P<test>\w+)` \|"
)
#: Every route of the wire, as the manager and its operators know them.
WIRE = {
    ("GET", "/"),
    ("GET", "/status"),
    ("GET", "/health"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/volumes"),
    ("GET", "/volume/hwinfo"),
    ("GET", "/volume/performance-metric"),
    ("POST", "/quota-scope"),
    ("GET", "/quota-scope"),
    ("PATCH", "/quota-scope"),
    ("DELETE", "/quota-scope/quota"),
    ("POST", "/folder/create"),
    ("POST", "/folder/delete"),
    ("POST", "/folder/clone"),
    ("GET", "/folder/mount"),
    ("GET", "/folder/metadata"),
    ("POST", "/folder/metadata"),
    ("GET", "/volume/quota"),
    ("PATCH", "/volume/quota"),
    ("GET", "/folder/usage"),
    ("GET", "/folder/used-bytes"),
    ("GET", "/folder/fs-usage"),
    ("POST", "/folder/file/mkdir"),
    ("POST", "/folder/file/list"),
    ("POST", "/folder/file/rename"),
    ("POST", "/folder/file/move"),
    ("POST", "/folder/file/fetch"),
    ("POST", "/folder/file/download"),
    ("POST", "/folder/file/upload"),
    ("POST", "/folder/file/delete"),
    ("POST", "/folder/file/delete-async"),
    ("POST", "/folder/file/archive-download-token"),
}


def rows() -> list[re.Match[str]]:
    return list(ROW.finditer((ROOT / "docs" / "wire.md").read_text("utf-8")))


def test_the_table_has_every_route() -> None:
    assert len(rows()) == len(WIRE)
    assert {(row["method"], row["path"]) for row in rows()} == WIRE


@pytest.mark.parametrize("method_path", sorted(WIRE), ids=" ".join)
def test_every_route_is_in_the_app(settings: Settings, method_path: tuple[str, str]) -> None:
    method, path = method_path
    routed = {
        (one, rule.rule)
        for rule in manager_door(settings).url_map.iter_rules()
        for one in rule.methods or ()
    }
    assert (method, path) in routed


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row['method']} {row['path']}")
def test_its_test_exists(row: re.Match[str]) -> None:
    text = (ROOT / row["file"]).read_text("utf-8")
    assert f"\ndef {row['test']}(" in text
