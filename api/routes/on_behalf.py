"""The header `X-VFolder-On-Behalf-Of`: the manager asks, and it is decided as for a user.

The secret alone may everything. With the header, a route decides its act for the user before its
view runs, and what the route begins is that user's: the right is decided again when its job begins
and at each request with its ticket. A route that is no act of a person refuses the header, so that
it is never ignored: only views below one of these decorators take it.

A view that begins a job or issues a ticket asks here whose it is (`submission`, `claims`).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import wraps
from typing import Any
from uuid import UUID

from flask import Flask, Response

from api.access import KeptDecision, open_answer, scopes_of
from api.http import this_request
from api.jobs import MANAGER, JobSubmission
from api.routes.door import current_door
from api.routes.parameters import ON_BEHALF_OF, UUID_PATTERN
from api.routes.people import PersonRequest
from api.routes.resource import View
from backends.volumes import entry_trash
from core.access import ACTS, Permission, PersonClaims, ScopeResource
from core.errors import (
    AccessForbidden,
    Defect,
    InvalidParameters,
    QuotaScopeNotFound,
    StorageError,
)
from core.jobs import PRIORITY_DEFAULT, access_of, requests

_VARIABLE = f"HTTP_{ON_BEHALF_OF.name.upper().replace('-', '_')}"
_USER = re.compile(f"user:({UUID_PATTERN})")
_ACT = "act_on_behalf"
#: Verbs that remove entries, where `keep_seconds` says how long they can be restored.
_KEEPING = frozenset({"delete-files", "transfer"})

#: Decides about a user what the arguments of a view name.
Decide = Callable[..., PersonRequest]
#: Returns the request for a job of the arguments of a view.
Make = Callable[..., dict[str, Any]]


# -- The header ------------------------------------------------------------------------------------
def read_header(app: Flask, *, people: bool) -> None:
    """Read the header of each request; refuse it where no route can follow it.

    `people` says whether the settings have the table `[vfolder.access]`.
    """

    @app.before_request
    def read() -> None:
        request = this_request()
        given = request.environ.get(_VARIABLE)
        if given is None:
            return
        if not people:
            raise InvalidParameters(
                f"This service knows no users: {ON_BEHALF_OF.name} needs the table [vfolder.access]"
                " of the configuration."
            )
        request.on_behalf_of = _user(given)
        if request.endpoint is not None and not decided_as(app.view_functions[request.endpoint]):
            raise AccessForbidden(
                f"This is no act of a user; send the request without {ON_BEHALF_OF.name}."
            )


def _user(given: str) -> UUID:
    found = _USER.fullmatch(given)
    if found is None:
        raise InvalidParameters(f"{ON_BEHALF_OF.name} is user:<uuid>, in lower case, once.")
    return UUID(found[1])


def decided_as(view: Callable[..., object]) -> str:
    """Return the act that a view decides for a user, for documents; empty for none."""
    return str(getattr(view, _ACT, ""))


# -- What a view decides ---------------------------------------------------------------------------
def _deciding(act: str, decide: Decide) -> Callable[[View], View]:
    def mark(view: View) -> View:
        @wraps(view)
        def decided(*body: Any, **path: str) -> Response:  # noqa: ANN401 - the body of any route
            if this_request().on_behalf_of is not None:
                asked = decide(*body, **path)
                if asked.decision is None:
                    raise Defect(f"The act {asked.rule.name} was not decided.")
                this_request().on_behalf = asked
            return view(*body, **path)

        setattr(decided, _ACT, act)
        return decided

    return mark


def on_vfolder(act: str) -> Callable[[View], View]:
    """Decide an act about the vfolder of the body; a hidden one looks absent."""

    def decide(body: Any, **_: str) -> PersonRequest:  # noqa: ANN401 - any with volume and vfolder
        asked = _asked(act, vfolder_id=f"{body.volume}:{body.vfolder.id}")
        asked.about_place(body.volume, body.vfolder)
        return asked

    return _deciding(act, decide)


def on_removal(view: View) -> View:
    """Decide a removal of entries at once: for good, where the volume could keep them."""

    def decide(body: Any, **_: str) -> PersonRequest:  # noqa: ANN401 - as on_vfolder
        asked = _asked("entries.remove", vfolder_id=f"{body.volume}:{body.vfolder.id}")
        asked.about_place(body.volume, body.vfolder)
        if _keeps(body.volume):
            asked.decide("entries.purge")
        return asked

    return _deciding("entries.purge", decide)(view)


def on_new_vfolder(view: View) -> View:
    """Decide the creation of a vfolder in the quota scope that its id names."""

    def decide(body: Any) -> PersonRequest:  # noqa: ANN401 - CreateVFolder
        scope = body.vfolder.scope
        if scope is None:
            raise InvalidParameters("vfid: a new vfolder needs a quota scope.")
        asked = _asked("vfolders.create", vfolder_id=f"{body.volume}:{body.vfolder.id}")
        if body.initial_limit_bytes:
            raise asked.refused(AccessForbidden("No user sets the limit of a quota scope."))
        members_may = asked.service.members_may_create
        asked.decide(scope=ScopeResource(scope=scope, volume=body.volume, members_may=members_may))
        return asked

    return _deciding("vfolders.create", decide)(view)


def on_scope(act: str) -> Callable[[View], View]:
    """Decide a look at a quota scope: that of the user, or of one of its groups."""

    def decide(body: Any) -> PersonRequest:  # noqa: ANN401 - any with scope
        asked = _asked(act)
        asked.decide()
        if body.scope not in scopes_of(asked.caller.subject):
            raise asked.refused(QuotaScopeNotFound("There is no such quota scope."))
        return asked

    return _deciding(act, decide)


def on_own(act: str) -> Callable[[View], View]:
    """Decide an act about what belongs to the user."""

    def decide(*_: Any, **__: str) -> PersonRequest:  # noqa: ANN401 - the body of any route
        asked = _asked(act)
        asked.decide()
        return asked

    return _deciding(act, decide)


def on_job(act: str) -> Callable[[View], View]:
    """Decide an act about the job of the path; a hidden one looks absent."""

    def decide(*_: Any, job_id: str) -> PersonRequest:  # noqa: ANN401 - the body of any route
        asked = _asked(act, job_id=job_id)
        asked.about_job(job_id)
        return asked

    return _deciding(act, decide)


def on_request(make: Make) -> Callable[[View], View]:
    """Decide what a job does, by the request that `make` returns for the body; both ends count."""

    def decide(body: Any) -> PersonRequest:  # noqa: ANN401 - the body of any route
        request = requested(make(body))
        if request["verb"] == "restore" and not request.get("trash"):
            raise InvalidParameters("trash: it names the deletion, on behalf of a user.")
        access = access_of(requests.parse(request))
        if access is None:
            raise AccessForbidden(f"No user requests a job of the verb {request['verb']}.")
        end = next(iter(access.ends.values()))
        asked = _asked(access.rule, vfolder_id=f"{end.volume}:{end.vfolder.id}")
        if getattr(body, "priority", PRIORITY_DEFAULT) != PRIORITY_DEFAULT:
            raise asked.refused(AccessForbidden("No user chooses the priority of a job."))
        _decide_request(asked, request)
        return asked

    return _deciding("as the job", decide)


def _decide_request(asked: PersonRequest, request: dict[str, Any]) -> None:
    """Decide a job; also the removal of entries that cannot be restored for long."""
    removes = request["verb"] == "delete-files" or request.get("remove_source")
    access = access_of(requests.parse(request))
    if removes and access is not None and access.rule != "entries.purge":
        found = asked.service.resources(access)
        end = found.get("source") or found.get("vfolder")
        asked.decide_keeping(request.get("keep_seconds"), vfolder=end)
    asked.decide_job(request)


def _asked(act: str, **path: str) -> PersonRequest:
    """Begin the request of the user.

    Raises:
        AccessForbidden: the user is blocked.
    """
    service, user = current_door().access, this_request().on_behalf_of
    if user is None:
        raise Defect("The request is on behalf of no user.")
    asked = PersonRequest(service, service.caller_on_behalf(user), ACTS[act], path)
    if asked.caller.subject.blocked:
        raise asked.refused(AccessForbidden("The user is blocked.", reason="blocked"))
    return asked


def _keeps(volume: str) -> bool:
    """Return whether removed entries of a volume can be kept for a while."""
    return bool(current_door().volume_access.on_volume(volume, entry_trash.supported))


# -- What a view asks ------------------------------------------------------------------------------
def person_request() -> PersonRequest | None:
    """Return what was decided about the user of the current request; None without the header."""
    asked = this_request().on_behalf
    return asked if isinstance(asked, PersonRequest) else None


def requested(request: dict[str, Any]) -> dict[str, Any]:
    """Return a request for a job with what the header changes: what is kept is said.

    People remove for good only where an owner says so, or where the volume keeps nothing.
    """
    removes = request["verb"] in _KEEPING and request.get("keep_seconds") is None
    moves = request["verb"] != "transfer" or request.get("remove_source")
    if this_request().on_behalf_of is None or not (removes and moves):
        return request
    try:
        keeps = _keeps(request["volume"])
    except StorageError as error:
        if error.retriable:
            raise
        return request  # there is no such volume, which is decided next
    return {**request, "keep_seconds": 0} if keeps else request


def submission(**more: Any) -> JobSubmission:  # noqa: ANN401 - members of JobSubmission
    """Return whose job the current request begins, and `more`; a user's is decided again."""
    asked = person_request()
    if asked is None:
        return JobSubmission(MANAGER, **more)
    return asked.service.submission(asked.caller, **more)


def retried(request: dict[str, Any], new_name: str, **more: Any) -> JobSubmission:  # noqa: ANN401 - as above
    """Return whose job a retry is; the user needs the right to what it does.

    Raises:
        VFolderNotFound, AccessForbidden: the user may not do it.
    """
    asked = person_request()
    if asked is None:
        return JobSubmission(MANAGER, **more)
    if access_of(requests.parse(request)) is None:
        raise asked.refused(AccessForbidden("No user requests a job of this verb."))
    _decide_request(asked, request)
    return submission(new_name=new_name, **more)


def claims() -> PersonClaims | None:
    """Return the holder of a ticket that the current request issues; None is the manager."""
    asked = person_request()
    return None if asked is None else asked.service.claims(asked.caller, asked.vfolder.record)


def may_replace() -> bool:
    """Return whether what the current request moves may take the place of a file."""
    asked = person_request()
    if asked is None or asked.decision is None:
        return True
    return asked.decision.permission >= Permission.RWD


def refuse(detail: str) -> None:
    """Refuse a part of a request that only the manager may ask for; without the header, nothing.

    Raises:
        AccessForbidden: the request is on behalf of a user.
    """
    asked = person_request()
    if asked is not None:
        raise asked.refused(AccessForbidden(detail))


def keep_deciding(response: Response) -> Response:
    """Let a long answer end when the user loses the permission."""
    asked = person_request()
    if asked is None:
        return response
    if open_answer(response) is None and response.is_streamed:
        kept = KeptDecision(replace(asked, is_quiet=True).decide_again)
        response.response = _while_allowed(response.iter_encoded(), kept)
    return asked.keep_deciding(response)


def _while_allowed(pieces: Iterable[bytes], kept: KeptDecision) -> Iterator[bytes]:
    """Yield pieces; raises when they are not allowed any more, so that the answer is cut off."""
    for piece in pieces:
        kept.check()
        yield piece
