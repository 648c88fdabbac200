"""Tickets: signed permission for one operation at the client door."""

from collections.abc import Sequence
from dataclasses import dataclass

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.bodies import Body, InvalidDocument
from api.schemas.fields import INTEGER_MAX, Flag, LooseInteger, PathField, VFolderField, VolumeName
from core.names import VFolderId, VFolderPath

#: Longest name that an archive may be downloaded under, in characters.
ARCHIVE_NAME_MAX = 255
#: No control characters, no separators, and neither `.` nor `..`.
_ARCHIVE_NAME = r"(?!\.{1,2}$)(?!\s*$)[^\x00-\x1f\x7f/\\]+$"


@dataclass(frozen=True, slots=True)
class DownloadOrder:
    """A request for a download ticket."""

    volume: str
    vfolder: VFolderId
    path: VFolderPath
    archive: bool
    unmanaged_path: str | None


@dataclass(frozen=True, slots=True)
class UploadOrder:
    """A request for an upload ticket."""

    volume: str
    vfolder: VFolderId
    path: VFolderPath
    size: int
    tree: bool = False


@dataclass(frozen=True, slots=True)
class ArchiveOrder:
    """A request for a ticket for several entries as one archive."""

    volume: str
    vfolder: VFolderId
    files: Sequence[VFolderPath]
    filename: str | None


class DownloadBody(Body):
    """A request for a download ticket."""

    makes = DownloadOrder
    volume = VolumeName()
    vfolder = VFolderField()
    path = PathField()
    archive = Flag(load_default=False)
    unmanaged_path = fields.String(allow_none=True, load_default=None)


class UploadBody(Body):
    """A request for an upload ticket."""

    makes = UploadOrder
    volume = VolumeName()
    vfolder = VFolderField()
    path = PathField()
    size = LooseInteger(
        required=True,
        validate=validate.Range(min=0, max=INTEGER_MAX),
        metadata={"description": "Bytes of the file; with `tree`, of the largest file."},
    )
    tree = Flag(
        load_default=False,
        metadata={"description": "Permit any number of files below the directory `relpath`."},
    )


class ArchiveTicketBody(Body):
    """A request for a ticket for several entries as one archive."""

    class Meta:
        """Existing clients send more keys."""

        unknown = ma.EXCLUDE

    makes = ArchiveOrder
    refusal = InvalidDocument
    volume = VolumeName()
    vfolder = VFolderField("virtual_folder_id")
    files = fields.List(PathField(None), required=True, validate=validate.Length(min=1))
    filename = fields.String(
        allow_none=True,
        load_default=None,
        validate=[
            validate.Length(min=1, max=ARCHIVE_NAME_MAX),
            validate.Regexp(
                _ARCHIVE_NAME,
                error="Not a file name (no separators, no control characters).",
            ),
        ],
    )


class Token(ma.Schema):
    """A ticket; append it as `?token=` to the client door's address."""

    token = fields.String(required=True)
    client_url = fields.String(
        metadata={
            "description": "The client door of the volume's node, when that is another node. "
            "The client door of this node redirects there."
        }
    )
