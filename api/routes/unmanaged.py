"""Vfolders that nobody manages: the manager names them by the volume `noop`.

Nothing of theirs is touched here; these acts answer as if it had been done, every other act answers
that there is no such volume.
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


def _said(value: dict[str, Any]) -> Callable[[], Response]:
    return lambda: answer(value)


_ANSWERS: dict[tuple[str, str], Callable[[], Response]] = {
    ("POST", "/folder/create"): no_content,
    ("GET", "/folder/mount"): _said({"path": "."}),
    ("POST", "/folder/file/list"): _said(
        {"items": [{**_NOTHING, "stat": _STAT}], "truncated": False, "next": None},
    ),
    ("GET", "/folder/usage"): _said({"file_count": 0, "used_bytes": 0, "as_of": None}),
    ("GET", "/folder/used-bytes"): _said({"used_bytes": 0, "as_of": None}),
    ("GET", "/folder/fs-usage"): _said({"capacity_bytes": 0, "used_bytes": 0}),
    ("GET", "/volume/hwinfo"): _said({"status": "healthy", "status_info": None, "metadata": {}}),
    ("GET", "/quota-scope"): _no_scope,
    ("POST", "/folder/file/delete"): _said({"status": "ok"}),
}


def unmanaged(method: str, rule: str) -> Callable[[], Response] | None:
    """How the act answers for an unmanaged vfolder, if it does."""
    return _ANSWERS.get((method, rule))
