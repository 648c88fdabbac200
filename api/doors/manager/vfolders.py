"""Routes of vfolders: create, mount path, metadata."""

import base64

from flask import Response

from api.http import answer, no_content
from api.routes import Resource, Route, RouteAnswer, current_door, on_behalf
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

blueprint = Resource("vfolders", __name__, description="Virtual folders.")


#: The largest payload as base64, and the JSON around it (bytes).
METADATA_BODY_MAX_BYTES = metadata.PAYLOAD_MAX_BYTES * 4 // 3 + 64 * 1024


class ScopeMissing(InvalidParameters):
    """The id of a new vfolder has no quota scope."""

    title = "The vfolder id has no quota scope"


class NotMountable(InvalidParameters):
    """The vfolder to mount does not exist; the wire requires 400 here."""

    error_code = "vfolder_read_not-found"
    kind = "storage/vfolder/not-mountable"
    title = "No such vfolder to mount"


@blueprint.operation(
    "POST",
    "/folder/create",
    Route(
        takes=CreateVFolderBody,
        gives={204: RouteAnswer("Created.")},
        refuses=(ScopeMissing, QuotaScopeNotFound, VFolderExists),
    ),
)
@on_behalf.on_new_vfolder
def create_vfolder(body: CreateVFolder) -> Response:
    """Create an empty vfolder.

    An absent quota scope is created, too, with the given limit, unless the configuration forbids
    it. The mode is that of the vfolder itself; directories above it have the default mode.
    """
    if body.vfolder.scope is None:
        raise ScopeMissing("vfid: a new vfolder needs a quota scope: <user|project>:<uuid>/<uuid>.")
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
        gives={200: RouteAnswer("The path on the agents.", MountPath)},
        refuses=(NotMountable,),
    ),
)
def get_mount_path(body: MountVFolder) -> Response:
    """Return the absolute path of a vfolder's root, for a container mount.

    A subpath is checked, but it is not created and not part of the answer. It need not exist.
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
        gives={200: RouteAnswer("The stored metadata.", Metadata)},
        refuses=(VFolderNotFound,),
    ),
)
def get_metadata(body: VFolderOfRequest) -> Response:
    """Return the stored metadata of a vfolder as base64; null when there is none."""
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
    """Store up to 10 MiB of metadata of a vfolder; it replaces what was stored before.

    The metadata lies beside the vfolder in its quota scope. It is on disk when this returns.
    """
    door = current_door()
    door.volume_access.check_known(body.volume)
    try:
        door.volume_access.on_volume(body.volume, metadata.write, body.vfolder, body.payload)
    finally:  # a write that ran into its deadline may still have happened
        door.vfolder_cache.forget(body.volume, body.vfolder)
    return answer({"status": "ok"})
