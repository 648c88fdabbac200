"""Bodies and answers of the manager's routes about access."""

from dataclasses import dataclass
from uuid import UUID

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.bodies import Body
from api.schemas.fields import MomentField, Note, SubjectWord, Text
from core.access import ACTS, Scope
from core.errors import InvalidParameters

#: Most ids of one kind that a request may name, and most grants of a vfolder.
IDS_MAX = 10_000
GRANTS_MAX = 1000

#: The acts that need one vfolder and nothing else.
ACTS_OF_VFOLDERS = sorted(
    name for name, rule in ACTS.items() if all(need.role == "vfolder" for need in rule.needs)
)


def _ids() -> fields.List[UUID]:
    return fields.List(fields.UUID(), load_default=list, validate=validate.Length(max=IDS_MAX))


def canonical(word: str) -> str:
    """Return `user:<uuid>` or `group:<uuid>` with the UUID as records have it.

    Raises:
        InvalidParameters: the text has another form.
    """
    kind, _, text = word.partition(":")
    try:
        return f"{kind}:{UUID(text)}"
    except ValueError:
        raise InvalidParameters("A subject is written user:<uuid> or group:<uuid>.") from None


@dataclass(frozen=True, slots=True)
class ForgetAccess:
    """What caches are to drop."""

    users: list[UUID]
    groups: list[UUID]
    vfolders: list[UUID]
    all: bool


class ForgetAccessBody(Body):
    """What caches are to drop: some users, groups and vfolders, or everything."""

    makes = ForgetAccess
    users = _ids()
    groups = _ids()
    vfolders = _ids()
    all = fields.Boolean(load_default=False)


@dataclass(frozen=True, slots=True)
class ManagedGrant:
    """One grant of the manager."""

    to: str
    permission: str
    expires_at: float | None
    note: str


class ManagedGrantBody(Body):
    """One grant of the manager."""

    makes = ManagedGrant
    to = SubjectWord(required=True, metadata={"description": "`user:<uuid>` or `group:<uuid>`."})
    permission = fields.String(
        required=True,
        validate=validate.OneOf(["ro", "rw", "rwd", "wd"]),
        metadata={"description": "`wd` is another word for `rwd`."},
    )
    expires_at = MomentField(load_default=None, allow_none=True)
    note = Note(load_default="")


@dataclass(frozen=True, slots=True)
class ReplaceGrants:
    """All grants of the manager on a vfolder."""

    grants: list[ManagedGrant]


class ReplaceGrantsBody(Body):
    """All grants of the manager on a vfolder; those that people made stay."""

    makes = ReplaceGrants
    grants = fields.List(
        fields.Nested(ManagedGrantBody), required=True, validate=validate.Length(max=GRANTS_MAX)
    )


@dataclass(frozen=True, slots=True)
class CheckAccess:
    """A decision that is to be explained."""

    subject: str
    act: str
    vfolder: str
    groups: list[UUID]
    admin_of: list[UUID]
    scopes: list[str]


class CheckAccessBody(Body):
    """A decision that is to be explained; nothing is done."""

    makes = CheckAccess
    subject = SubjectWord(required=True, metadata={"description": "`user:<uuid>`."})
    act = fields.String(
        required=True,
        validate=validate.OneOf(ACTS_OF_VFOLDERS),
        metadata={"description": "An act about one vfolder; others need more to be decided."},
    )
    vfolder = Text(metadata={"description": "An id, or `VOLUME:ID`."})
    groups = _ids()
    admin_of = _ids()
    scopes = fields.List(
        fields.String(validate=validate.OneOf([scope.value for scope in Scope])),
        load_default=lambda: [scope.value for scope in Scope],
        metadata={"description": "The scopes of the credential; all by default."},
    )


class GrantDocument(ma.Schema):
    """One grant of a vfolder."""

    id = fields.String(required=True)
    to = fields.String(required=True)
    permission = fields.String(required=True)
    source = fields.String(required=True)
    expires_at = fields.String(required=True, allow_none=True)
    note = fields.String(required=True)


class ManagedGrants(ma.Schema):
    """All grants of a vfolder, and the revision of its record."""

    grants = fields.List(fields.Nested(GrantDocument), required=True)
    revision = fields.Integer(required=True)


class DecisionStep(ma.Schema):
    """One step of a decision."""

    step = fields.String(required=True)
    counts = fields.Boolean(required=True)
    gives = fields.String(required=True, allow_none=True)
    detail = fields.String(required=True, allow_none=True)


class ExplainedDecision(ma.Schema):
    """A decision, and how it came about."""

    allowed = fields.Boolean(required=True)
    permission = fields.String(required=True)
    needed = fields.String(required=True)
    via = fields.String(required=True)
    reason = fields.String(required=True)
    hidden = fields.Boolean(required=True)
    decider = fields.String(required=True)
    expires_at = fields.String(required=True, allow_none=True)
    steps = fields.List(fields.Nested(DecisionStep), required=True)


class MountInformation(ma.Schema):
    """How an agent mounts a vfolder for a user."""

    path = fields.String(required=True)
    read_only = fields.Boolean(required=True)
    options = fields.List(fields.String(), required=True)
    permission = fields.String(required=True)
    expires_at = fields.String(required=True, allow_none=True)
