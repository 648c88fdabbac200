"""Routes of vfolders: list, make, look, change, move to the trash, restore."""

import base64
import binascii
import time
from contextlib import suppress
from operator import itemgetter
from typing import Any
from uuid import UUID

from flask import Response
from msgspec import structs

from api.access import FoundVFolder, RevisionChanged, check_unchanged
from api.doors.people import places
from api.doors.people.documents import vfolder_answer, vfolder_document
from api.doors.people.entries import flag, limit_of, query
from api.http import answer
from api.jobs import MANAGER, JobSubmission, pointer
from api.routes import (
    PeopleResource,
    PersonRequest,
    Route,
    RouteAnswer,
    current_door,
    job_answers,
    needs,
    parameters,
)
from api.schemas import JobDocument
from api.schemas import people as shapes
from backends.base import DEFAULT_MODE
from backends.volumes import operations, quota_views
from core.access import (
    ACTS,
    Decision,
    ScopeResource,
    VFolderRecord,
    decide_rule,
    records,
)
from core.errors import (
    DeadlineExceeded,
    KeyReused,
    Locked,
    NoSpace,
    QuotaExceeded,
    QuotaScopeNotFound,
    TrashNotFound,
    Unavailable,
    VFolderExists,
)
from core.names import VFolderId
from core.quota import LastUsageStore

blueprint = PeopleResource("vfolders", __name__, description="VFolders of people.")

#: VFolders of a page, unless the request says otherwise, and at most.
PAGE_DEFAULT, PAGE_MAX = 100, 1000
#: How long a deleted vfolder can be restored, unless the request says otherwise: 7 days.
KEEP_SECONDS = 604_800
_JOB = {
    202: RouteAnswer(
        "Accepted; the body is the job.", JobDocument, headers=("Location", "Retry-After", "ETag")
    )
}
_VFOLDER = RouteAnswer("The vfolder.", shapes.VFolderDocument, headers=("ETag",))
#: The orders of a list; the first is the default.
SORTS = ("name", "created_at", "used_bytes")
_FLAGS = ("owned", "shared", "trashed")
#: More than any moment and any size; what is unknown comes after all digits.
_MOST, _UNKNOWN = 10**22, "~"
_FLAG: dict[str, Any] = {"type": "string", "enum": ["true", "false"]}
_FILTERS = (
    parameters.in_query("owned", "Those of the caller.", **_FLAG),
    parameters.in_query("shared", "Those that others share with the caller.", **_FLAG),
    parameters.in_query("group", "Those of a group, by its id."),
    parameters.in_query("volume", "Those of a volume."),
    parameters.in_query("name", "Those whose name has this text, in any case."),
    parameters.in_query("trashed", "Those in the trash.", **_FLAG),
    parameters.in_query(
        "sort",
        "By name; or the newest or the biggest first, and the unknown last.",
        type="string",
        enum=list(SORTS),
        default=SORTS[0],
    ),
    parameters.in_query(
        "limit",
        "The most vfolders of the page.",
        type="integer",
        minimum=1,
        maximum=PAGE_MAX,
        default=PAGE_DEFAULT,
    ),
    parameters.in_query("cursor", "`next` of the page before."),
)
_KEEP = parameters.in_query(
    "keep_seconds",
    "How long it can be restored; 0 is not at all.",
    type="integer",
    minimum=0,
    default=KEEP_SECONDS,
)


# -- List ------------------------------------------------------------------------------------------
@blueprint.operation(
    "GET",
    "/v1/vfolders",
    Route(gives={200: RouteAnswer("One page.", shapes.VFolderPage)}, parameters=_FILTERS),
)
@needs("vfolders.list")
def list_vfolders(asked: PersonRequest) -> Response:
    """List the vfolders that the caller may see.

    Without a filter these are the caller's own, those of its groups, and those shared with it. A
    volume that is away is left out; `complete` is false then.
    """
    given = query(one.name for one in _FILTERS)
    sort = _checked_sort(given)
    volumes = asked.service.volumes_of(asked.caller)
    limit, after = limit_of(given, PAGE_DEFAULT, PAGE_MAX), _decoded(sort, given.get("cursor"))
    away = set[str]()
    listed = _listed(asked, given, away)
    ordered = zip(_places(sort, [found for found, _ in listed]), listed, strict=True)
    seen = sorted(ordered, key=itemgetter(0))
    rest = [one for one in seen if after is None or one[0] > after]
    page = [pair for _, pair in rest[:limit]]
    more = len(rest) > limit
    counts = _last_counts([found for found, _ in page])
    documents = [_document(*one, last) for one, last in zip(page, counts, strict=True)]
    return answer(
        {
            "vfolders": documents,
            "complete": not away and asked.service.vfolders.are_complete(volumes),
            "next": _encoded(sort, rest[limit - 1][0]) if more else None,
        }
    )


def _listed(
    asked: PersonRequest, given: dict[str, str], away: set[str]
) -> list[tuple[FoundVFolder, Decision]]:
    """Return what the filters leave of what the caller may see."""
    caller, service = asked.caller, asked.service
    rule = ACTS["vfolders.read"]
    volumes = service.volumes_of(caller)
    if "volume" in given:
        volumes = [name for name in volumes if name == given["volume"]]
    text = records.name_key(given.get("name", ""))
    group = _group(given.get("group"))
    known = [
        one
        for one in service.known(caller, volumes, away, trashed=flag(given, "trashed") or False)
        if text in records.name_key(one.record.name or "")
        and _is_wanted(asked, given, group, one.record)
    ]
    resources = service.deciders.permissions(caller, rule.name, [one.resource for one in known])
    decided = [decide_rule(caller, rule, {"vfolder": resource}) for resource in resources]
    return [pair for pair in zip(known, decided, strict=True) if pair[1].allowed]


def _is_wanted(
    asked: PersonRequest, given: dict[str, str], group: UUID | None, record: VFolderRecord
) -> bool:
    subject = asked.caller.subject
    owned = record.owner.kind == "user" and record.owner.id == subject.id
    groups = subject.groups | subject.admin_of
    of_group = record.owner.kind == "group" and record.owner.id in groups
    if flag(given, "owned") not in (None, owned):
        return False
    if flag(given, "shared") not in (None, not owned and not of_group):
        return False
    return group is None or (record.owner.kind == "group" and record.owner.id == group)


def _group(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text is not None else None
    except ValueError:
        raise pointer("group", "is the id of a group") from None


def _checked_sort(given: dict[str, str]) -> str:
    """Return the order of a list, and check each flag, also where nothing is listed."""
    for name in _FLAGS:
        flag(given, name)
    sort = given.get("sort", SORTS[0])
    if sort not in SORTS:
        raise pointer("sort", f"is none of {', '.join(SORTS)}")
    return sort


def _places(sort: str, found: list[FoundVFolder]) -> list[tuple[str, str]]:
    """Return the place of each vfolder in the order of a list."""
    names = [f"{one.reference}:{one.trash}" for one in found]
    if sort == "name":
        firsts = [records.name_key(one.record.name or "") for one in found]
    elif sort == "created_at":
        firsts = [_descending(one.record.created_at) for one in found]
    else:
        firsts = [_descending(last.get("used_bytes")) for last in _last_counts(found)]
    return list(zip(firsts, names, strict=True))


def _descending(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{_MOST - int(value * 1000):024d}"


def _encoded(sort: str, place: tuple[str, str]) -> str:
    text = "\0".join((sort, *place)).encode("utf-8", "surrogateescape")
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _decoded(sort: str, text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    try:
        padded = text + "=" * (-len(text) % 4)
        of, first, reference = base64.b64decode(padded, b"-_", validate=True).decode().split("\0")
    except (binascii.Error, ValueError):
        raise pointer("cursor", "is not `next` of a page") from None
    if of != sort:
        raise pointer("cursor", "is of a list in another order")
    return first, reference


# -- One -------------------------------------------------------------------------------------------
@blueprint.operation(
    "POST",
    "/v1/vfolders",
    Route(
        takes=shapes.NewVFolderBody,
        gives={201: RouteAnswer("Made.", shapes.VFolderDocument, headers=("Location", "ETag"))},
        parameters=(job_answers.IDEMPOTENCY_KEY,),
        refuses=(VFolderExists, QuotaScopeNotFound, KeyReused, QuotaExceeded, NoSpace),
    ),
)
@needs("vfolders.create")
def make_vfolder(body: shapes.NewVFolder, asked: PersonRequest) -> Response:
    """Make an empty vfolder for the caller, or for a group that it is an admin of.

    A name is unique among the live vfolders of an owner on a volume, in any case of its letters.
    With an `Idempotency-Key` a repeated request gets the vfolder of the first one.
    """
    service, caller = asked.service, asked.caller
    name = records.checked_name(body.name)
    owner = places.owner_of(asked, body.owner)
    scope = places.scope_of(owner)
    volume = service.volume_for(caller, body.volume)
    asked.decide(
        scope=ScopeResource(scope=scope, volume=volume, members_may=service.members_may_create)
    )
    vfolder = places.new_id(asked, scope, volume)
    places.check_name(asked, owner, volume, vfolder, name)
    record = structs.replace(
        records.implied(volume, vfolder),
        owner=owner,
        name=name,
        created_at=time.time(),
        created_by=caller.subject.word,
        group_permission=body.group_permission,
        expires_at=body.expires_at,
        limit_bytes=body.limit_bytes,
    )
    found = _made(asked, volume, vfolder, record)
    response = vfolder_seen(asked, found, 201)
    response.headers["Location"] = f"/v1/vfolders/{found.reference}"
    return response


def _made(
    asked: PersonRequest, volume: str, vfolder: VFolderId, record: VFolderRecord
) -> FoundVFolder:
    """Make the vfolder and its record; a repeated request finds both.

    Raises:
        KeyReused: another request with the same Idempotency-Key made it.
    """
    door = current_door()
    automatic = door.settings.storage_proxy.allow_auto_quota_scope_creation
    try:
        door.volume_access.on_volume(
            volume,
            operations.create_vfolder,
            vfolder,
            DEFAULT_MODE,
            None,
            automatic=automatic,
        )
    except VFolderExists:
        found = FoundVFolder(asked.service.parts.records.read(volume, vfolder))
        if found.record.revision and found.record.name != record.name:
            raise KeyReused("The Idempotency-Key belongs to another request.") from None
        if found.record.revision:
            return found
    made = FoundVFolder(asked.service.parts.records.read(volume, vfolder))
    changed = asked.service.changed(made, lambda _: record)
    if record.limit_bytes is not None:
        follow_limit(changed, new=True)
    return changed


@blueprint.operation(
    "GET",
    "/v1/vfolders/<vfolder_id>",
    Route(
        gives={200: _VFOLDER, 304: RouteAnswer("Unchanged.")},
        parameters=(parameters.IF_NONE_MATCH,),
    ),
)
@needs("vfolders.read")
def get_vfolder(asked: PersonRequest) -> Response:
    """Look at a vfolder: its record, the permission of the caller, and the last figures.

    `{vfolder_id}` is its id, or `VOLUME:ID`. An id that is on several volumes is refused, and
    `choices` of the problem has those that the caller may see.
    """
    query(())
    return vfolder_seen(asked, asked.vfolder)


@blueprint.operation(
    "PATCH",
    "/v1/vfolders/<vfolder_id>",
    Route(
        takes=shapes.VFolderChangeBody,
        gives={200: _VFOLDER},
        parameters=(parameters.IF_MATCH,),
        refuses=(VFolderExists, RevisionChanged, NoSpace, QuotaExceeded),
    ),
)
@needs("vfolders.update")
def change_vfolder(body: shapes.VFolderChange, asked: PersonRequest) -> Response:
    """Change the name of a vfolder, its end, its limit, or what members of its group may do.

    A limit holds at once. Where the vfolder is big, a job counts it, and until then only what is
    being written counts against the limit.

    What the body does not name stays. `If-Match` with the `ETag` refuses a change of another state.
    """
    found = asked.vfolder
    check_unchanged(found.record)
    given = body.given
    if "name" in given:
        given["name"] = records.checked_name(given["name"])
        owner = found.record.owner
        places.check_name(asked, owner, found.volume, found.vfolder, given["name"])
    changed = asked.service.changed(found, lambda record: structs.replace(record, **given))
    if "limit_bytes" in given:
        follow_limit(changed, new=found.record.limit_bytes is None)
    return vfolder_seen(asked, changed)


@blueprint.operation(
    "DELETE",
    "/v1/vfolders/<vfolder_id>",
    Route(
        gives=_JOB,
        parameters=(parameters.IF_MATCH, _KEEP, job_answers.PREFER),
        refuses=(Locked, RevisionChanged),
    ),
)
@needs("vfolders.delete")
def delete_vfolder(asked: PersonRequest) -> Response:
    """Move a vfolder to the trash, by a job; it disappears at once."""
    given = query(("keep_seconds",))
    found = asked.vfolder
    check_unchanged(found.record)
    body: dict[str, Any] = {
        "verb": "delete",
        "volume": found.volume,
        "vfolder": str(found.vfolder),
        "keep_seconds": _number(given.get("keep_seconds", str(KEEP_SECONDS))),
    }
    return job_answers.accepted(asked.service.submit(asked.caller, body))


def _number(text: str) -> float:
    if not (text.isascii() and text.isdigit()):
        raise pointer("keep_seconds", "is a number of seconds")
    return float(text)


@blueprint.operation(
    "POST",
    "/v1/vfolders/<vfolder_id>/restore",
    Route(
        takes=shapes.RestoreVFolderBody,
        gives=_JOB,
        parameters=(job_answers.IDEMPOTENCY_KEY, job_answers.PREFER),
        refuses=(TrashNotFound, VFolderExists, Locked, KeyReused),
    ),
)
@needs("vfolders.restore")
def restore_vfolder(body: shapes.RestoreOrder, asked: PersonRequest) -> Response:
    """Restore a vfolder from the trash, by a job; with its grants, and with no link."""
    found = asked.vfolder
    wanted = {
        "verb": "restore",
        "volume": found.volume,
        "vfolder": str(found.vfolder),
        "trash": body.trash or found.trash,
    }
    key = job_answers.idempotency_key()
    return job_answers.accepted(asked.service.submit(asked.caller, wanted, key))


@blueprint.operation(
    "POST",
    "/v1/vfolders/<vfolder_id>/purge",
    Route(gives=_JOB, parameters=(job_answers.PREFER,), refuses=(TrashNotFound, Locked)),
)
@needs("vfolders.purge")
def purge_vfolder(asked: PersonRequest) -> Response:
    """Remove the latest deletion of a vfolder for good, by a job."""
    query(())
    found = asked.vfolder
    wanted = {
        "verb": "purge",
        "volume": found.volume,
        "vfolder": str(found.vfolder),
        "trash": found.trash,
    }
    return job_answers.accepted(asked.service.submit(asked.caller, wanted))


# -- Documents -------------------------------------------------------------------------------------
def vfolder_seen(asked: PersonRequest, found: FoundVFolder, status: int = 200) -> Response:
    """Return the vfolder as the caller sees it now."""
    rule = ACTS["vfolders.read"]
    decision = asked.service.deciders.decide_rule(asked.caller, rule, {"vfolder": found.resource})
    document = _document(found, decision, _last_counts([found])[0] | _held(found))
    return vfolder_answer(document, found.record.revision, status)


def follow_limit(found: FoundVFolder, *, new: bool) -> None:
    """Begin or end the account of a vfolder whose record was changed; a job counts a big one."""
    door, volume = current_door(), found.volume
    known = door.volume_access.on_volume(
        volume, quota_views.follow_vfolder_limit, found.vfolder, new=new
    )
    if not known:
        request = {"verb": "usage", "volume": volume, "vfolder": str(found.vfolder)}
        with suppress(Locked):
            door.jobs.submit(request, JobSubmission(MANAGER))


def _held(found: FoundVFolder) -> dict[str, Any]:
    """Return what the account of a vfolder with a limit says; empty for others."""
    if found.record.limit_bytes is None or found.trash:
        return {}
    access = current_door().volume_access
    try:
        view = access.on_volume(found.volume, quota_views.vfolder_view, found.vfolder)
    except (Unavailable, DeadlineExceeded):
        return {}
    if view is None or view.used_bytes is None:
        return {}
    return {"used_bytes": view.used_bytes, "as_of": view.as_of}


def _last_counts(found: list[FoundVFolder]) -> list[dict[str, Any]]:
    """Return the last count of each vfolder, empty where there was none; by one call for all."""
    places = [(one.volume, one.vfolder) for one in found]
    return [last or {} for last in LastUsageStore(current_door().jobs.redis).last_of(places)]


def _document(found: FoundVFolder, decision: Decision, last: dict[str, Any]) -> dict[str, Any]:
    door = current_door()
    usage = {
        "used_bytes": last.get("used_bytes"),
        "entries": last.get("file_count"),
        "as_of": last.get("as_of"),
        "limit_bytes": found.record.limit_bytes,
        "enforced": None if found.record.limit_bytes is None else "soft",
    }
    more = {"usage": usage, "capabilities": door.capabilities_of(found.volume)}
    return vfolder_document(found, decision, more)
