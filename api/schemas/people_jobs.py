"""The bodies of the routes by which people request jobs, and offer a vfolder to another owner."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.fields import PathField, SubjectWord, Text, Truth
from api.schemas.job_requests import TransferTerms, plain_request
from api.schemas.people import PersonBody
from backends.retention import NAME_MAX as SNAPSHOT_NAME_MAX
from core.jobs import requests
from core.names import VFolderPath


class NewPlaceBody(PersonBody):
    """The vfolder that a job makes: its name, its owner and its volume."""

    name = fields.String(
        load_default=None,
        allow_none=True,
        metadata={"description": "1 to 200 characters, without `/`; without it, none."},
    )
    owner = SubjectWord(
        load_default=None,
        allow_none=True,
        metadata={"description": "`user:<uuid>` or `group:<uuid>`; the caller when absent."},
    )


@dataclass(frozen=True, slots=True)
class CloneOrder:
    """A request to clone a vfolder."""

    name: str | None
    owner: str | None
    volume: str | None
    verify: str


class CloneOrderBody(NewPlaceBody):
    """A request to clone a vfolder to a new one."""

    makes = CloneOrder
    volume = fields.String(
        load_default=None,
        allow_none=True,
        metadata={"description": "The volume of the new vfolder; that of the source when absent."},
    )
    verify = fields.String(
        load_default="size", validate=validate.OneOf(["none", "size", "checksum"])
    )


@dataclass(frozen=True, slots=True)
class TransferOrder:
    """A request to transfer entries; `terms` are members of the request of a job."""

    to: str
    terms: dict[str, Any]


class TransferOrderBody(TransferTerms, PersonBody):
    """A request to copy a vfolder, or a path in it, into another vfolder that exists."""

    to = Text(metadata={"description": "The vfolder that gets the entries: `ID` or `VOLUME:ID`."})
    keep_seconds = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(0, requests.KEEP_MAX_SECONDS, min_inclusive=False),
        metadata={
            "description": "With `remove_source`: how long what is removed can be restored; seven "
            "days when absent. An owner may purge it before."
        },
    )

    @ma.post_load
    def _make(self, data: Mapping[str, Any], **_: Any) -> TransferOrder:  # noqa: ANN401 - marshmallow's hook
        terms = dict(data)
        return TransferOrder(terms.pop("to"), plain_request(terms))


@dataclass(frozen=True, slots=True)
class ExtractOrder:
    """A request to unpack an archive."""

    source: VFolderPath
    target: VFolderPath
    archive: str


class ExtractOrderBody(PersonBody):
    """A request to unpack an archive of a vfolder into a directory that does not exist yet."""

    makes = ExtractOrder
    source = PathField("source")
    target = PathField("target")
    archive = fields.String(required=True, validate=validate.OneOf(["tar", "zip"]))


@dataclass(frozen=True, slots=True)
class SnapshotOrder:
    """A request to create a snapshot."""

    name: str
    keep_seconds: float | None


class SnapshotOrderBody(PersonBody):
    """A request to create a snapshot."""

    makes = SnapshotOrder
    name = fields.String(required=True, validate=validate.Length(1, SNAPSHOT_NAME_MAX))
    keep_seconds = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(0, requests.KEEP_MAX_SECONDS, min_inclusive=False),
        metadata={"description": "How long to keep it; when absent, until it is deleted."},
    )


@dataclass(frozen=True, slots=True)
class SnapshotRestoreOrder:
    """A request to restore a snapshot, to a new vfolder of the same volume or over this one."""

    name: str | None
    owner: str | None
    over: bool
    keep_seconds: float | None


class SnapshotRestoreBody(NewPlaceBody):
    """A request to restore a snapshot, to a new vfolder of the same volume or over this one."""

    makes = SnapshotRestoreOrder
    over = Truth(
        load_default=False,
        metadata={"description": "In place of this vfolder, whose entries go to the trash."},
    )
    keep_seconds = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(0, requests.KEEP_MAX_SECONDS, min_inclusive=False),
        metadata={"description": "With `over`: how long they are kept; seven days when absent."},
    )


class SnapshotRow(ma.Schema):
    """A snapshot; null is unknown, or no end."""

    name = fields.String()
    created_at = fields.String(allow_none=True)
    expires_at = fields.String(allow_none=True)


class SnapshotList(ma.Schema):
    """The snapshots of a vfolder, oldest first."""

    snapshots = fields.List(fields.Nested(SnapshotRow))


@dataclass(frozen=True, slots=True)
class OwnerOffer:
    """An offer of a vfolder to another owner; None takes it back."""

    to: str | None


class OwnerOfferBody(PersonBody):
    """An offer of a vfolder to another owner."""

    makes = OwnerOffer
    to = SubjectWord(
        required=True,
        allow_none=True,
        metadata={"description": "`user:<uuid>` or `group:<uuid>`; null takes the offer back."},
    )
