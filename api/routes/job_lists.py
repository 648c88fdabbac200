"""Lists of jobs: the filters and pages that a query names, the same at every door."""

from collections.abc import Callable

from werkzeug.datastructures import MultiDict

from api.jobs import pointer
from api.routes import parameters
from core.errors import InvalidName, InvalidParameters
from core.jobs import State
from core.jobs.requests import VERBS
from core.jobs.store import INDEXED, PAGE_DEFAULT, PAGE_MAX, Query
from core.names import SCOPE_PATTERN, VFOLDER_PATTERN, QuotaScope, VFolderId, moment_ns

#: A place in the list, as an answer gives it; empty is its beginning.
CURSOR_PATTERN = "^[0-9]{0,19}$"
_VFOLDER = rf"^(?:[A-Za-z0-9][A-Za-z0-9_.-]*/)?{VFOLDER_PATTERN.removeprefix('^')}"
FILTERS = (
    parameters.in_query("state", "Its state.", type="string", enum=[one.value for one in State]),
    parameters.in_query("verb", "What it does.", type="string", enum=sorted(VERBS)),
    parameters.in_query("volume", "Its volume.", type="string", minLength=1),
    parameters.in_query("scope", "Its quota scope.", type="string", pattern=SCOPE_PATTERN),
    parameters.in_query(
        "vfolder", "A vfolder that it uses: `ID` or `VOLUME/ID`.", type="string", pattern=_VFOLDER
    ),
    parameters.in_query("requester", "Who submitted it.", type="string", minLength=1),
    parameters.in_query("label", "The label of its request.", type="string", minLength=1),
    parameters.in_query(
        "since", "The earliest moment of its creation, as `2026-01-31T12:00:00Z` (RFC 3339)."
    ),
    parameters.in_query(
        "limit",
        "The most jobs of the page.",
        type="integer",
        minimum=1,
        maximum=PAGE_MAX,
        default=PAGE_DEFAULT,
    ),
    parameters.in_query(
        "cursor", "`next` of the page before.", type="string", pattern=CURSOR_PATTERN
    ),
)


def job_query(arguments: MultiDict[str, str]) -> Query:
    """Return the query that the arguments of `GET /v1/jobs` describe.

    Raises:
        InvalidParameters: an argument is unknown, is given twice, or has an invalid value.
    """
    unknown = set(arguments) - {*INDEXED, "since", "limit", "cursor"}
    if unknown:
        raise not_a_filter(min(unknown))
    for name, values in arguments.lists():
        if len(values) > 1:
            raise pointer(name, "is given more than once")
    given = {name: arguments[name] for name in INDEXED if name in arguments}
    on = _volume_of(given.get("vfolder", ""))
    if on:
        given["vfolder"] = given["vfolder"][len(on) + 1 :]
    filters = {name: _filter(name, text) for name, text in given.items()}
    return Query(
        filters=filters,
        lock_key=f"{on}/{filters['vfolder']}" if on else "",
        limit=_limit(arguments.get("limit", "")),
        cursor=arguments.get("cursor", ""),
        since_ms=_since(arguments.get("since", "")),
    )


def not_a_filter(name: str) -> InvalidParameters:
    """Return the refusal of a parameter that a list does not take."""
    return pointer(name, "is not a filter of this list")


def _volume_of(vfolder: str) -> str:
    """Return the volume of a filter `VOLUME/ID`; empty for the id alone, in any of its forms."""
    volume, slash, rest = vfolder.partition("/")
    is_scope = ":" in volume
    return volume if slash and rest and not is_scope else ""


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
