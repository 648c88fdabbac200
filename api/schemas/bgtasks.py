"""Bodies of the older routes for long work, as existing clients write them."""

from dataclasses import dataclass

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.bodies import Body, InvalidDocument
from api.schemas.fields import Flag, PathField, Text, VFolderField, VolumeName
from core.jobs.requests import PATHS_MAX
from core.names import VFolderId, VFolderPath


@dataclass(frozen=True, slots=True)
class CloneVFolder:
    """A request to copy a vfolder."""

    volume: str
    source: VFolderId
    target_volume: str | None
    target: VFolderId


@dataclass(frozen=True, slots=True)
class DeleteEntries:
    """A request to remove entries of a vfolder."""

    volume: str
    vfolder: VFolderId
    paths: list[VFolderPath]
    recursive: bool


def _is_no_root(path: VFolderPath) -> None:
    if path.is_root:
        raise ma.ValidationError(
            "The vfolder itself cannot be removed by this route; use /folder/delete."
        )


class CloneVFolderBody(Body):
    """A request to copy a vfolder; unknown keys are ignored."""

    class Meta:
        """Older clients send more keys."""

        unknown = ma.EXCLUDE

    makes = CloneVFolder
    volume = Text(data_key="src_volume", metadata={"description": "Volume of the source."})
    source = VFolderField(key="src_vfid")
    target_volume = fields.String(
        data_key="dst_volume",
        required=True,
        allow_none=True,
        validate=validate.Length(min=1),
        metadata={"description": "Volume of the copy; null means the same volume."},
    )
    target = VFolderField(key="dst_vfid")


class DeleteEntriesBody(Body):
    """A request to remove entries of a vfolder; unknown keys are ignored."""

    class Meta:
        """Other releases send more keys."""

        unknown = ma.EXCLUDE

    makes = DeleteEntries
    refusal = InvalidDocument
    volume = VolumeName()
    vfolder = VFolderField()
    paths = fields.List(
        PathField(key=None, validate=_is_no_root),
        data_key="relpaths",
        required=True,
        validate=validate.Length(1, PATHS_MAX),
        metadata={"description": "Paths relative to the vfolder; the root is not allowed."},
    )
    recursive = Flag(load_default=False, metadata={"description": "Remove directories too."})
