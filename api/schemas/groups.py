"""The bodies that the routes of groups take and the documents that they give."""

from dataclasses import dataclass
from uuid import UUID

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.fields import Text, Truth
from api.schemas.people import PersonBody

#: The most admins that a new group names.
ADMINS_MAX = 100
_NAME = "What people call it; it decides nothing."


@dataclass(frozen=True, slots=True)
class NewGroup:
    """A request to make a group."""

    name: str
    id: UUID | None
    admins: tuple[UUID, ...]


class NewGroupBody(PersonBody):
    """A request to make a group."""

    makes = NewGroup
    name = Text(validate=validate.Length(1, 200), metadata={"description": _NAME})
    id = fields.UUID(
        load_default=None,
        allow_none=True,
        metadata={"description": "The id that tokens and the manager know; else a new one."},
    )
    admins = fields.List(
        fields.UUID(), load_default=tuple, validate=validate.Length(max=ADMINS_MAX)
    )


@dataclass(frozen=True, slots=True)
class NewMember:
    """A request to add a member to a group."""

    user: UUID
    admin: bool


@dataclass(frozen=True, slots=True)
class GroupChange:
    """A change of a group."""

    links_allowed: bool


class GroupChangeBody(PersonBody):
    """A change of a group."""

    makes = GroupChange
    links_allowed = Truth(
        required=True,
        metadata={
            "description": "False ends all links of the group's vfolders until it is true again."
        },
    )


class NewMemberBody(PersonBody):
    """A request to add a member to a group."""

    makes = NewMember
    user = fields.UUID(required=True)
    admin = Truth(load_default=False)


class GroupRow(ma.Schema):
    """A group of the caller."""

    id = fields.String()
    name = fields.String(allow_none=True)
    admin = fields.Boolean()
    members_kept = fields.Boolean(metadata={"description": "False: tokens name its members."})
    links_allowed = fields.Boolean(
        metadata={"description": "Whether links of its vfolders count, as far as it decides."}
    )


class GroupList(ma.Schema):
    """Groups, by name."""

    groups = fields.List(fields.Nested(GroupRow))


class MemberRow(ma.Schema):
    """A member of a group; the name is null where it is not known here."""

    id = fields.String()
    name = fields.String(allow_none=True)
    admin = fields.Boolean()


class MemberList(ma.Schema):
    """The members of a group: its admins first."""

    members = fields.List(fields.Nested(MemberRow), allow_none=True)
