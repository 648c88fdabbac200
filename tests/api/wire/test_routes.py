"""The table of routes in docs/wire.md: complete, and each route is in the app and has its test."""

import re
from pathlib import Path

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


def test_every_route_is_in_the_app(settings: Settings) -> None:
    routed = {
        (method, rule.rule)
        for rule in manager_door(settings).url_map.iter_rules()
        for method in rule.methods or ()
    }
    assert not WIRE - routed


def test_the_named_tests_exist() -> None:
    missing = [
        f"{row['file']}::{row['test']}"
        for row in rows()
        if f"\ndef {row['test']}(" not in (ROOT / row["file"]).read_text("utf-8")
    ]
    assert not missing, "\n".join(missing)
