"""VFolders as a whole: make them, find them."""

import base64

from flask import Response

from api.http import answer, no_content
from api.routes import Resource, Route, RouteAnswer, current_door
from api.schemas import (
    CreateVFolder,
    CreateVFolderBody,
    Done,
    Metadata,
    MountBody,
    MountPath,
    MountVFolder,
    StoreMetadata,
    StoreMetadataBody,
    VFolderBody,
    VFolderOfRequest,
)
from backends.base import DEFAULT_MODE
from backends.entries import metadata
from backends.volumes import operations
from core.errors import (
    InvalidParameters,
    NoSpace,
    QuotaExceeded,
    QuotaScopeNotFound,
    VFolderExists,
    VFolderNotFound,
)

blueprint = Resource("vfolders", __name__, description="Virtual folders as a whole.")


#: A payload of the largest size as base64, and the names around it, in bytes.
METADATA_BODY_MAX_BYTES = metadata.PAYLOAD_MAX_BYTES * 4 // 3 + 64 * 1024


class ScopeMissing(InvalidParameters):
    """A new vfolder needs a quota scope."""

    title = "The vfolder id has no quota scope"


class NotMountable(InvalidParameters):
    """The vfolder is not there to be mounted; the wire wants 400 here."""

    error_code = "vfolder_read_not-found"
    kind = "storage/vfolder/not-mountable"
    title = "No such vfolder to mount"


@blueprint.operation(
    "POST",
    "/folder/create",
    Route(
        takes=CreateVFolderBody,
        gives={204: RouteAnswer("Made.")},
        refuses=(ScopeMissing, QuotaScopeNotFound, VFolderExists),
    ),
)
def create_vfolder(body: CreateVFolder) -> Response:
    """Make an empty vfolder.

    Its quota scope is made too when it is absent, with the given first limit, unless the
    configuration forbids it. The mode is that of the vfolder itself; directories above it keep
    the default.
    """
    if body.vfolder.scope is None:
        raise ScopeMissing("A new vfolder needs a quota scope: <user|project>:<uuid>/<uuid>.")
    door = current_door()
    automatic = door.settings.storage_proxy.allow_auto_quota_scope_creation
    mode = DEFAULT_MODE if body.mode is None else body.mode
    door.volume_access.on_volume(
        body.volume,
        operations.create_vfolder,
        body.vfolder,
        mode,
        body.initial_limit_bytes,
        automatic=automatic,
    )
    return no_content()


@blueprint.operation(
    "GET",
    "/folder/mount",
    Route(
        takes=MountBody,
        gives={200: RouteAnswer("Where agents find it.", MountPath)},
        refuses=(NotMountable,),
    ),
)
def get_mount_path(body: MountVFolder) -> Response:
    """Tell the absolute path of a vfolder's root, for a container mount.

    A subpath is checked, but not made and not part of the answer; one that does not exist is fine.
    """
    access = current_door().volume_access
    try:
        access.in_vfolder(body, operations.check_inside, body.subpath)
    except VFolderNotFound as error:
        raise NotMountable(error.detail, vfid=str(body.vfolder)) from None
    return answer({"path": access.on_volume(body.volume, operations.mount_path, body.vfolder)})


@blueprint.operation(
    "GET",
    "/folder/metadata",
    Route(
        takes=VFolderBody,
        gives={200: RouteAnswer("What was stored.", Metadata)},
        refuses=(VFolderNotFound,),
    ),
)
def get_metadata(body: VFolderOfRequest) -> Response:
    """Return what was stored about a vfolder, as base64; null when nothing was."""
    door = current_door()
    door.volume_access.check_known(body.volume)  # before its name becomes part of a key
    payload = door.vfolder_cache.metadata(
        body.volume,
        body.vfolder,
        lambda: door.volume_access.on_volume(body.volume, metadata.read, body.vfolder),
    )
    text = None if payload is None else base64.b64encode(payload).decode()
    return answer({"status": "ok", "payload": text})


@blueprint.operation(
    "POST",
    "/folder/metadata",
    Route(
        takes=StoreMetadataBody,
        gives={200: RouteAnswer("Stored.", Done)},
        refuses=(VFolderNotFound, metadata.MetadataTooLarge, NoSpace, QuotaExceeded),
        body_max_bytes=METADATA_BODY_MAX_BYTES,
    ),
)
def store_metadata(body: StoreMetadata) -> Response:
    """Store up to 10 MiB about a vfolder, in place of what was stored before.

    It lies beside the vfolder in its quota scope, and is on disk when this returns.
    """
    door = current_door()
    door.volume_access.check_known(body.volume)
    try:
        door.volume_access.on_volume(body.volume, metadata.write, body.vfolder, body.payload)
    finally:  # one that was given up may still have been written
        door.vfolder_cache.forget(body.volume, body.vfolder)
    return answer({"status": "ok"})
