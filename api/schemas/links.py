"""The bodies that the routes of links take and the documents that they give."""

from dataclasses import dataclass, field
from typing import Any

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.fields import INTEGER_MAX, MomentField, Note, PathField
from api.schemas.people import UNCHANGED, PersonBody
from core.access.links import PASSWORD_MAX, PASSWORD_MIN
from core.names import VFolderPath

KINDS = ["read", "drop"]


def _number(description: str, **options: Any) -> fields.Integer:  # noqa: ANN401 - marshmallow's options
    return fields.Integer(
        strict=True,
        allow_none=True,
        validate=validate.Range(min=1, max=INTEGER_MAX),
        metadata={"description": description},
        **options,
    )


_PASSWORD: dict[str, Any] = {
    "allow_none": True,
    "validate": validate.Length(PASSWORD_MIN, PASSWORD_MAX),
    "metadata": {"description": "What a visitor has to know besides; null is none."},
}
_BYTES = "Bytes that all visitors together may send; for `drop`."
_FILE_BYTES = "Bytes of the largest file that a visitor may send; for `drop`."
_DOWNLOADS = "Downloads until the link ends; one counts once per visitor, entry and hour."


@dataclass(frozen=True, slots=True)
class NewLink:
    """A request to make a link."""

    kind: str
    path: VFolderPath
    #: `UNCHANGED` where the request names no end.
    expires_at: Any
    password: str | None
    note: str
    max_downloads: int | None
    max_bytes: int | None
    max_file_bytes: int | None


class NewLinkBody(PersonBody):
    """A request to make a link."""

    makes = NewLink
    kind = fields.String(
        load_default="read",
        validate=validate.OneOf(KINDS),
        metadata={
            "description": "`read`: a visitor browses and downloads. `drop`: it sends files."
        },
    )
    path = PathField("path", load_default=lambda: VFolderPath(()))
    expires_at = MomentField(
        load_default=lambda: UNCHANGED,
        allow_none=True,
        metadata={"description": "Its end; when absent, after the days of the settings."},
    )
    password = fields.String(load_default=None, **_PASSWORD)
    note = Note(load_default="")
    max_downloads = _number(_DOWNLOADS, load_default=None)
    max_bytes = _number(_BYTES, load_default=None)
    max_file_bytes = _number(_FILE_BYTES, load_default=None)


_CHANGED = ("expires_at", "password", "note", "max_downloads", "max_bytes", "max_file_bytes")


@dataclass(frozen=True, slots=True)
class LinkChange:
    """A change of a link; what it does not name stays."""

    expires_at: Any = UNCHANGED
    password: Any = UNCHANGED
    note: Any = UNCHANGED
    max_downloads: Any = UNCHANGED
    max_bytes: Any = UNCHANGED
    max_file_bytes: Any = UNCHANGED
    given: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in _CHANGED}
        given = {name: value for name, value in values.items() if value is not UNCHANGED}
        object.__setattr__(self, "given", given)


class LinkChangeBody(PersonBody):
    """A change of a link; what it does not name stays."""

    makes = LinkChange
    expires_at = MomentField(allow_none=True)
    password = fields.String(**_PASSWORD)
    note = Note()
    max_downloads = _number(_DOWNLOADS)
    max_bytes = _number(_BYTES)
    max_file_bytes = _number(_FILE_BYTES)


class LinkRow(ma.Schema):
    """A link, without its secrets."""

    id = fields.String()
    vfolder = fields.String(metadata={"description": "`VOLUME:ID` of its vfolder."})
    kind = fields.String(validate=validate.OneOf(KINDS))
    path = fields.String()
    maker = fields.String()
    note = fields.String()
    has_password = fields.Boolean()
    max_downloads = fields.Integer(allow_none=True)
    max_bytes = fields.Integer(allow_none=True)
    max_file_bytes = fields.Integer(allow_none=True)
    downloads = fields.Integer()
    sent_bytes = fields.Integer()
    created_at = fields.String(allow_none=True)
    expires_at = fields.String(allow_none=True)
    revoked_at = fields.String(allow_none=True)
    last_used_at = fields.String(allow_none=True)


class MadeLink(LinkRow):
    """A new link; its URL is shown once."""

    url = fields.String()


class LinkList(ma.Schema):
    """Links, in the order in which they were made."""

    links = fields.List(fields.Nested(LinkRow))


class VisitedLink(ma.Schema):
    """What a visitor may know of a link; the name is null until the password is given."""

    kind = fields.String(validate=validate.OneOf(KINDS))
    needs_password = fields.Boolean()
    name = fields.String(allow_none=True)
    is_directory = fields.Boolean(allow_none=True)
    max_file_bytes = fields.Integer(allow_none=True)
    expires_at = fields.String(allow_none=True)


@dataclass(frozen=True, slots=True)
class Password:
    """The password of a link."""

    password: str


class PasswordBody(PersonBody):
    """The password of a link."""

    makes = Password
    password = fields.String(
        load_default="",
        validate=validate.Length(max=PASSWORD_MAX),
        metadata={"description": "Empty for a link without one: the cookie then names the visit."},
    )


class SentFile(ma.Schema):
    """A file that the visitor has sent, under the name that it got."""

    name = fields.String()
    size_bytes = fields.Integer()


class SentFiles(ma.Schema):
    """What the visitor has sent in this visit, the oldest first."""

    sent = fields.List(fields.Nested(SentFile))
