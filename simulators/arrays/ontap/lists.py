"""ONTAP's query language: filters, `fields`, pages with links (NetApp: REST API)."""

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from urllib.parse import quote

from simulators.serving import Ask, Say

_CONTROL = {"fields", "max_records", "order_by", "return_timeout", "return_records", "start.here"}
INVALID_FIELD, INVALID_ARGUMENT = "262197", "262179"

Row = dict[str, Any]


def refusal(status: int, code: str, message: str, target: str = "") -> Say:
    """An error in ONTAP's form."""
    error = {"message": message, "code": code} | ({"target": target} if target else {})
    return Say(status, {"error": error})


def value(row: Row, name: str) -> Any:
    """A field by its dotted name; None when it is absent."""
    found: Any = row
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return found


def listing(ask: Ask, rows: Iterable[Row], known: set[str], identity: set[str], page: int) -> Say:
    """A list as asked: filtered, cut down to the fields that were named, in pages.

    Where pages are cut the first one is empty, as when `return_timeout` comes early.
    """
    for name in ask.query:
        if name not in _CONTROL and name not in known:
            code = INVALID_FIELD if "." in name or name in identity else INVALID_ARGUMENT
            return refusal(400, code, f'Unexpected argument "{name}".', name)
    wanted = [f for f in ask.query.get("fields", "").split(",") if f]
    if unknown := [f for f in wanted if not _covers(f, known)]:
        return refusal(400, INVALID_FIELD, f'The value "{unknown[0]}" is invalid for "fields".')
    filters = {k: v for k, v in ask.query.items() if k not in _CONTROL}
    found = [row for row in rows if all(matches(value(row, k), v) for k, v in filters.items())]
    shown = [cut(row, {*identity, *wanted}, known) for row in found]
    return _page(ask, shown, min(int(ask.query.get("max_records", 10_000)), page))


def _page(ask: Ask, shown: list[Row], size: int) -> Say:
    start = int(ask.query.get("start.here", -1))
    cut_up = size < 10_000
    if cut_up and start < 0:
        records, rest = [], 0
    else:
        start = max(start, 0)
        records, rest = shown[start : start + size], start + size
    links: Row = {"self": {"href": ask.path}}
    if rest < len(shown) or (cut_up and not records and start < 0):
        query = {k: v for k, v in ask.query.items() if k != "start.here"} | {"start.here": rest}
        text = "&".join(f"{quote(k)}={quote(str(v), safe='')}" for k, v in query.items())
        links["next"] = {"href": f"{ask.path}?{text}"}
    return Say(200, {"records": records, "num_records": len(records), "_links": links})


def matches(found: Any, pattern: str) -> bool:  # noqa: PLR0911 - one for each form
    """Whether a field's value meets a filter: `*`, `|`, `!`, `null`, `a..b`, `<`, `>`."""
    if pattern == "null":
        return found is None
    if pattern.startswith("!"):
        return not matches(found, pattern[1:])
    if "|" in pattern:
        return any(matches(found, part) for part in pattern.split("|"))
    if found is None:
        return False
    if pattern.startswith((">", "<")) and isinstance(found, str):
        return _at(found, pattern)
    if isinstance(found, int) and not isinstance(found, bool):
        return _within(found, pattern)
    text = {True: "true", False: "false"}.get(found, str(found))
    if pattern.startswith('"'):
        return text == pattern.strip('"')
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), text) is not None


def _at(found: str, pattern: str) -> bool:
    """Whether a moment is before or after another one."""
    moment = datetime.fromisoformat(pattern.lstrip("<>="))
    return (datetime.fromisoformat(found) > moment) is pattern.startswith(">")


def _within(found: int, pattern: str) -> bool:
    tests: dict[str, Callable[[int, int], bool]] = {
        "<=": lambda a, b: a <= b,
        ">=": lambda a, b: a >= b,
        "<": lambda a, b: a < b,
        ">": lambda a, b: a > b,
    }
    for sign, test in tests.items():
        if pattern.startswith(sign):
            return test(found, int(pattern.removeprefix(sign)))
    if ".." in pattern:
        low, high = pattern.split("..")
        return int(low) <= found <= int(high)
    return found == int(pattern)


def cut(row: Row, names: set[str], known: set[str]) -> Row:
    """Only the fields that were asked for; what is not there is absent, never null."""
    kept: Row = {}
    for name in sorted(known):
        if name not in names and not any(name.startswith(f"{n}.") for n in names):
            continue
        if (found := value(row, name)) is None:
            continue
        *above, last = name.split(".")
        place = kept
        for part in above:
            place = place.setdefault(part, {})
        place[last] = found
    return kept


def _covers(name: str, known: set[str]) -> bool:
    return name in known or any(k.startswith(f"{name}.") for k in known)
