"""Unmanaged vfolders: the manager names them by the volume `noop`.

This service touches nothing of them. The routes listed here answer as if they had done their work.
Every other route answers that there is no such volume.
"""

from collections.abc import Callable
from typing import Any

from flask import Response

from api.http import answer, no_content
from core.errors import QuotaScopeNotFound

#: The volume's name; it is never listed.
VOLUME = "noop"
_EPOCH = "1970-01-01T00:00:00+00:00"
_NOTHING = {"name": "", "type": "FILE", "symlink_target": ""}
_STAT = {"mode": 0, "size": 0, "created": _EPOCH, "modified": _EPOCH}


def _no_scope() -> Response:
    raise QuotaScopeNotFound("Unmanaged vfolders have no quota scope.")


def _fixed(value: dict[str, Any]) -> Callable[[], Response]:
    return lambda: answer(value)


_ANSWERS: dict[tuple[str, str], Callable[[], Response]] = {
    ("POST", "/folder/create"): no_content,
    ("GET", "/folder/mount"): _fixed({"path": "."}),
    ("POST", "/folder/file/list"): _fixed(
        {"items": [{**_NOTHING, "stat": _STAT}], "truncated": False, "next": None},
    ),
    ("GET", "/folder/usage"): _fixed({"file_count": 0, "used_bytes": 0, "as_of": None}),
    ("GET", "/folder/used-bytes"): _fixed({"used_bytes": 0, "as_of": None}),
    ("GET", "/folder/fs-usage"): _fixed({"capacity_bytes": 0, "used_bytes": 0}),
    ("GET", "/volume/hwinfo"): _fixed({"status": "healthy", "status_info": None, "metadata": {}}),
    ("GET", "/quota-scope"): _no_scope,
    ("POST", "/folder/file/delete"): _fixed({"status": "ok"}),
}


def unmanaged(method: str, rule: str) -> Callable[[], Response] | None:
    """Return the answer of a route for unmanaged vfolders; None when the route has none."""
    return _ANSWERS.get((method, rule))
