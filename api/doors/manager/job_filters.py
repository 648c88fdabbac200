"""The query of a list of jobs: every filter checked, every id in its one text form."""

from collections.abc import Callable

from werkzeug.datastructures import MultiDict

from api.jobs import pointer
from core.errors import InvalidName
from core.jobs import State
from core.jobs.requests import VERBS
from core.jobs.store import INDEXED, PAGE_DEFAULT, PAGE_MAX, Query
from core.names import QuotaScope, VFolderId, moment_ns


def asked_list(arguments: MultiDict[str, str]) -> Query:
    """The query that the arguments ask.

    Raises:
        InvalidParameters: one of them is unknown, given twice, or has no allowed form.
    """
    unknown = set(arguments) - {*INDEXED, "since", "limit", "cursor"}
    if unknown:
        raise pointer(min(unknown), "is not a filter of this list")
    for name, values in arguments.lists():
        if len(values) > 1:
            raise pointer(name, "is given more than once")
    return Query(
        filters={name: _filter(name, arguments[name]) for name in INDEXED if name in arguments},
        limit=_limit(arguments.get("limit", "")),
        cursor=arguments.get("cursor", ""),
        since_ms=_since(arguments.get("since", "")),
    )


def _filter(name: str, text: str) -> str:
    if not text:
        raise pointer(name, "is empty; leave it out")
    form = _FORMS.get(name)
    try:
        return form(text) if form else text
    except InvalidName as error:
        raise pointer(name, error.detail.rstrip(".")) from None


def _one_of(name: str, known: list[str]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in known:
            raise pointer(name, f"is none of {', '.join(known)}")
        return text

    return check


_FORMS: dict[str, Callable[[str], str]] = {
    "state": _one_of("state", [state.value for state in State]),
    "verb": _one_of("verb", sorted(VERBS)),
    "scope": lambda text: str(QuotaScope.parse(text)),
    "vfolder": lambda text: str(VFolderId.parse(text)),
}


def _limit(text: str) -> int:
    if not text:
        return PAGE_DEFAULT
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(PAGE_MAX))
    if not digits or not 1 <= int(text) <= PAGE_MAX:
        raise pointer("limit", f"must be a whole number from 1 to {PAGE_MAX}")
    return int(text)


def _since(text: str) -> int:
    if not text:
        return 0
    try:
        return moment_ns(text) // 1_000_000
    except ValueError as error:
        raise pointer("since", str(error)) from None
