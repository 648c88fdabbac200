"""The bodies that the routes of keys and sign-ins take and the documents that they give."""

from dataclasses import dataclass
from uuid import UUID

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.people import PersonBody
from core.access import Scope

#: Bounds of `core.access.credentials.keys`, which loads more than a schema needs. A test compares
#: them.
NAME_MAX = 200
NETWORKS_MAX = 100
VFOLDERS_MAX = 1000
#: More than a code of ours has (characters).
CODE_MAX = 100
_OVERLAP_MAX_SECONDS = 365 * 86_400
_SCOPES = [scope.value for scope in Scope]


# -- Keys ------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class NewKey:
    """A request to make a key."""

    scopes: list[str]
    name: str = ""
    networks: list[str] | None = None
    vfolders: list[UUID] | None = None
    expires_in_days: float | None = None


class NewKeyBody(PersonBody):
    """A request to make a key."""

    makes = NewKey
    scopes = fields.List(
        fields.String(validate=validate.OneOf(_SCOPES)),
        required=True,
        validate=validate.Length(min=1),
    )
    name = fields.String(load_default="", validate=validate.Length(max=NAME_MAX))
    networks = fields.List(
        fields.String(),
        load_default=None,
        allow_none=True,
        validate=validate.Length(min=1, max=NETWORKS_MAX),
        metadata={
            "description": "Where callers may be, as `192.0.2.0/24`; everywhere when absent."
        },
    )
    vfolders = fields.List(
        fields.UUID(),
        load_default=None,
        allow_none=True,
        validate=validate.Length(min=1, max=VFOLDERS_MAX),
        metadata={"description": "The vfolders that it is for; all of its user when absent."},
    )
    expires_in_days = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=0, min_inclusive=False),
        metadata={"description": "The default and the most are settings of the server."},
    )


@dataclass(frozen=True, slots=True)
class KeyChange:
    """A new name of a key."""

    name: str


class KeyChangeBody(PersonBody):
    """A new name of a key."""

    makes = KeyChange
    name = fields.String(required=True, validate=validate.Length(max=NAME_MAX))


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """How long the old secret is valid."""

    overlap_seconds: float | None = None


class KeyRotationBody(PersonBody):
    """How long the old secret is valid."""

    makes = KeyRotation
    overlap_seconds = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=0, max=_OVERLAP_MAX_SECONDS),
        metadata={"description": "Seconds; 0 ends it now. The default is a setting."},
    )


class KeyDocument(ma.Schema):
    """A key without its secret."""

    id = fields.String()
    name = fields.String()
    scopes = fields.List(fields.String())
    networks = fields.List(fields.String(), allow_none=True)
    vfolders = fields.List(fields.String(), allow_none=True)
    created_at = fields.String()
    expires_at = fields.String()
    last_used_at = fields.String(allow_none=True)
    last_used_from = fields.String(allow_none=True)
    revoked_at = fields.String(allow_none=True)
    former_ends_at = fields.String(
        allow_none=True,
        metadata={"description": "After a rotation: when the secret before it ends."},
    )


class KeyWithSecret(KeyDocument):
    """A key with its text, which is shown once."""

    key = fields.String()


class KeyList(ma.Schema):
    """One's keys."""

    keys = fields.List(fields.Nested(KeyDocument))


# -- Sign-ins --------------------------------------------------------------------------------------
class SignInDocument(ma.Schema):
    """A sign-in of a browser."""

    id = fields.String()
    current = fields.Boolean(metadata={"description": "Whether this request came by it."})
    made_by = fields.String(metadata={"description": "The kind of the credential that made it."})
    created_at = fields.String()
    last_used_at = fields.String()
    expires_at = fields.String()
    address = fields.String()
    agent = fields.String()


class SignInList(ma.Schema):
    """One's sign-ins."""

    sign_ins = fields.List(fields.Nested(SignInDocument))


@dataclass(frozen=True, slots=True)
class SignInCode:
    """A code of a browser, and what proves the program that it is for."""

    code: str
    verifier: str


class SignInCodeBody(PersonBody):
    """A code of a browser, and what proves the program that it is for."""

    makes = SignInCode
    code = fields.String(required=True, validate=validate.Length(min=1, max=CODE_MAX))
    verifier = fields.String(
        required=True,
        validate=validate.Length(min=43, max=128),
        metadata={"description": "What `challenge` is of (RFC 7636 §4.1)."},
    )


class SignInKey(ma.Schema):
    """A sign-in as a program sends it: `Authorization: Bearer …`."""

    key = fields.String()
    expires_at = fields.String()


class SignInMethod(ma.Schema):
    """One way to sign in."""

    kind = fields.String(
        validate=validate.OneOf(["key", "token", "oidc"]),
        metadata={"description": "`key` and `token`: `POST /v1/signin`. `oidc`: go to `url`."},
    )
    name = fields.String(metadata={"description": "`oidc`: the issuer."})
    label = fields.String(metadata={"description": "`oidc`: the issuer as people read it."})
    url = fields.String(
        metadata={"description": "`oidc`: where the browser goes; add `?to=` and a path."}
    )


class SignInMethods(ma.Schema):
    """The ways to sign in, in the order of the settings."""

    methods = fields.List(fields.Nested(SignInMethod))


# -- Audit -----------------------------------------------------------------------------------------
class AuditPage(ma.Schema):
    """Lines of the audit log, as they are in its files."""

    lines = fields.List(fields.Dict(keys=fields.String()))
    next = fields.String(allow_none=True)
