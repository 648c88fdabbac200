"""Routes of groups whose members are kept here: operators make them, group admins change them."""

from uuid import UUID, uuid4

from flask import Response
from msgspec import structs

from api.doors.people.entries import query
from api.doors.people.keys import parts_of_door, private
from api.http import no_content
from api.routes import PeopleResource, PersonRequest, Route, RouteAnswer, needs
from api.schemas import groups as shapes
from core.access import ScopeResource, SubjectRecord, records
from core.errors import Conflict, NoSpace, NotFound, QuotaExceeded, VFolderNotFound
from core.names import QuotaScope, ScopeKind

blueprint = PeopleResource("groups", __name__, description="Groups whose members are kept here.")

#: The most members of one group. Each change writes them all.
MEMBERS_MAX = 5000
_WRITES = (NoSpace, QuotaExceeded)


class GroupNotFound(NotFound):
    """There is no such group, or the caller may not see it."""

    error_code = "auth_read_not-found"
    kind = "auth/group/not-found"
    title = "No such group"


class MemberNotFound(NotFound):
    """The group has no such member."""

    error_code = "auth_read_not-found"
    kind = "auth/group/member-not-found"
    title = "No such member"


@blueprint.operation(
    "GET", "/v1/groups", Route(gives={200: RouteAnswer("The groups.", shapes.GroupList)})
)
@needs("groups.read")
def list_groups(asked: PersonRequest) -> Response:
    """List the groups of the caller, by name; those whose members come with tokens, too."""
    query(())
    subject = asked.caller.subject
    found = parts_of_door().subjects.groups(subject.groups | subject.admin_of)
    rows = [
        {
            "id": str(one.id),
            "name": one.name or None,
            "admin": one.id in subject.admin_of,
            "members_kept": one.members_kept,
            "links_allowed": one.links_allowed,
        }
        for one in found
    ]
    return private({"groups": rows})


@blueprint.operation(
    "POST",
    "/v1/groups",
    Route(
        takes=shapes.NewGroupBody,
        gives={201: RouteAnswer("Made.", shapes.GroupRow, headers=("Location",))},
        refuses=(Conflict, *_WRITES),
    ),
)
@needs("groups.create", noted=True)
def make_group(body: shapes.NewGroup, asked: PersonRequest) -> Response:
    """Make a group whose members are kept here; for operators.

    With the `id` of a group that tokens name, its members are those of this list from now on.
    """
    group, name = body.id or uuid4(), records.checked_name(body.name)
    admins = tuple(dict.fromkeys(body.admins))

    def made(record: SubjectRecord) -> SubjectRecord:
        if record.members_kept or record.kind != "group":
            raise Conflict("There is a group of this id already.")
        return structs.replace(record, name=name, admins=admins, members_kept=True)

    asked.note(target=f"group:{group}", after={"admins": list(map(str, admins))})
    record = parts_of_door().subjects.change("group", group, made)
    response = private(_row(record, admin=False), 201)
    response.headers["Location"] = f"/v1/groups/{group}/members"
    return response


@blueprint.operation(
    "PATCH",
    "/v1/groups/<group_id>",
    Route(
        takes=shapes.GroupChangeBody,
        gives={200: RouteAnswer("The group.", shapes.GroupRow)},
        refuses=(GroupNotFound, *_WRITES),
    ),
)
@needs("groups.manage", noted=True)
def change_group(body: shapes.GroupChange, asked: PersonRequest) -> Response:
    """Turn the links of a group's vfolders off, or on again; also where tokens name its members.

    Each process sees it within a second. Links that were made count again when they are on.
    """
    group = _id_of(asked)
    _decide(asked, group)
    before, allowed = _record(group), body.links_allowed
    if before.kind != "group":
        raise GroupNotFound("There is no such group.")
    asked.note(
        target=f"group:{group}",
        before={"links_allowed": before.links_allowed},
        after={"links_allowed": allowed},
    )
    record = parts_of_door().subjects.change(
        "group", group, lambda old: structs.replace(old, links_allowed=allowed)
    )
    return private(_row(record, admin=group in asked.caller.subject.admin_of))


@blueprint.operation(
    "GET",
    "/v1/groups/<group_id>/members",
    Route(gives={200: RouteAnswer("The members.", shapes.MemberList)}, refuses=(GroupNotFound,)),
)
@needs("groups.read")
def list_members(asked: PersonRequest) -> Response:
    """List the members of a group, for those who are in it; null where tokens name them."""
    query(())
    group, subject = _id_of(asked), asked.caller.subject
    if group not in subject.groups | subject.admin_of:
        _decide(asked, group)
    return _members(_record(group))


@blueprint.operation(
    "POST",
    "/v1/groups/<group_id>/members",
    Route(
        takes=shapes.NewMemberBody,
        gives={200: RouteAnswer("The members.", shapes.MemberList)},
        refuses=(GroupNotFound, Conflict, *_WRITES),
    ),
)
@needs("groups.manage", noted=True)
def add_member(body: shapes.NewMember, asked: PersonRequest) -> Response:
    """Add a member to a group, or make a member an admin of it, or an admin a mere member.

    Each process sees it within a second. A group keeps its last admin.
    """
    group = _id_of(asked)
    _decide(asked, group)

    def changed(record: SubjectRecord) -> SubjectRecord:
        record = without(kept(record), body.user, asked, removes=not body.admin)
        if body.admin:
            record = structs.replace(record, admins=(*record.admins, body.user))
        else:
            record = structs.replace(record, members=(*record.members, body.user))
        if len(record.members) + len(record.admins) > MEMBERS_MAX:
            raise Conflict(f"A group has at most {MEMBERS_MAX} members.")
        return record

    asked.note(target=f"group:{group}", after={"user": str(body.user), "admin": body.admin})
    return _members(parts_of_door().subjects.change("group", group, changed))


@blueprint.operation(
    "DELETE",
    "/v1/groups/<group_id>/members/<user_id>",
    Route(
        gives={204: RouteAnswer("Removed.")},
        refuses=(GroupNotFound, MemberNotFound, Conflict, *_WRITES),
    ),
)
@needs("groups.manage", noted=True)
def remove_member(asked: PersonRequest) -> Response:
    """Remove a member from a group; grants to the group do not count for it any more."""
    query(())
    group = _id_of(asked)
    _decide(asked, group)
    user = _uuid(asked.path["user_id"])

    def changed(record: SubjectRecord) -> SubjectRecord:
        if user is None or user not in {*kept(record).members, *record.admins}:
            raise MemberNotFound("The group has no such member.")
        return without(record, user, asked, removes=True)

    asked.note(target=f"group:{group}", before={"user": str(user)})
    parts_of_door().subjects.change("group", group, changed)
    return no_content()


def _row(record: SubjectRecord, *, admin: bool) -> dict[str, object]:
    return {
        "id": str(record.id),
        "name": record.name or None,
        "admin": admin,
        "members_kept": record.members_kept,
        "links_allowed": record.links_allowed,
    }


def kept(record: SubjectRecord) -> SubjectRecord:
    """Return the record of a group whose members are kept here.

    Raises:
        Conflict: tokens name its members.
    """
    if not record.members_kept:
        raise Conflict("The members of this group come with tokens; change them at their issuer.")
    return record


def without(
    record: SubjectRecord, user: UUID, asked: PersonRequest, *, removes: bool
) -> SubjectRecord:
    """Return a group without a user; `removes` says that it will be no admin afterwards.

    Raises:
        Conflict: the last admin would go, and no operator asks.
    """
    if removes and record.admins == (user,) and not asked.is_operator:
        raise Conflict("A group keeps its last admin; make another member an admin first.")
    return structs.replace(
        record,
        members=tuple(one for one in record.members if one != user),
        admins=tuple(one for one in record.admins if one != user),
    )


def _members(record: SubjectRecord) -> Response:
    if not record.members_kept:
        return private({"members": None})
    names = parts_of_door().subjects.names({*record.members, *record.admins})
    rows = [
        {"id": str(user), "name": names.get(user) or None, "admin": user in record.admins}
        for user in (*record.admins, *record.members)
    ]
    return private({"members": rows})


def _decide(asked: PersonRequest, group: UUID) -> None:
    """Decide whether the caller may change a group.

    Raises:
        GroupNotFound: the caller is not in it.
        AccessForbidden: the caller is no admin of it.
    """
    scope = ScopeResource(scope=QuotaScope(ScopeKind.PROJECT, group))
    try:
        asked.decide("groups.manage", scope=scope)
    except VFolderNotFound:
        raise GroupNotFound("There is no such group.") from None


def _record(group: UUID) -> SubjectRecord:
    record = parts_of_door().subjects.read(group)
    return record or SubjectRecord(kind="group", id=group)


def _id_of(asked: PersonRequest) -> UUID:
    group = _uuid(asked.path["group_id"])
    if group is None:
        raise GroupNotFound("There is no such group.")
    return group


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
