"""VFolders as a whole: make them, find them."""

from contextlib import suppress

from flask import Response

from api.doors import current_door
from api.encoding import answer, no_content
from api.resources import Act, Answer, Resource
from api.schemas.vfolders import (
    CreateVFolder,
    CreateVFolderBody,
    MountBody,
    MountPath,
    MountVFolder,
)
from backends import paths
from backends.base import DEFAULT_MODE, Backend
from core.errors import (
    EntryNotFound,
    InvalidParameters,
    QuotaScopeExists,
    QuotaScopeNotFound,
    VFolderExists,
    VFolderNotFound,
)
from core.names import VFolderPath

blueprint = Resource("vfolders", __name__, description="Virtual folders as a whole.")


class ScopeMissing(InvalidParameters):
    """A new vfolder needs a quota scope."""

    title = "The vfolder id has no quota scope"


class NotMountable(InvalidParameters):
    """The vfolder is not there to be mounted; the wire wants 400 here."""

    error_code = "vfolder_read_not-found"
    kind = "storage/vfolder/not-mountable"
    title = "No such vfolder to mount"


@blueprint.act(
    "POST",
    "/folder/create",
    Act(
        takes=CreateVFolderBody,
        gives={204: Answer("Made.")},
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
    door.on_volume(body.volume, lambda b: _create(b, body, automatic=automatic))
    return no_content()


def _create(backend: Backend, body: CreateVFolder, *, automatic: bool) -> None:
    mode = DEFAULT_MODE if body.mode is None else body.mode
    try:
        backend.create_vfolder(body.vfolder, mode)
    except QuotaScopeNotFound:
        if not automatic or body.vfolder.scope is None:
            raise
        with suppress(QuotaScopeExists):  # made meanwhile, for another vfolder
            backend.create_scope(body.vfolder.scope, body.initial_limit_bytes)
        backend.create_vfolder(body.vfolder, mode)


@blueprint.act(
    "GET",
    "/folder/mount",
    Act(
        takes=MountBody,
        gives={200: Answer("Where agents find it.", MountPath)},
        refuses=(NotMountable,),
    ),
)
def get_mount_path(body: MountVFolder) -> Response:
    """Tell the absolute path of a vfolder's root, for a container mount.

    A subpath is checked, but not made and not part of the answer; one that does not exist is fine.
    """
    door = current_door()
    try:
        door.in_vfolder(body, _check_inside, body.subpath)
    except VFolderNotFound as error:
        raise NotMountable(error.detail, vfid=str(body.vfolder)) from None
    path = door.volumes.get(body.volume).vfolder_path(body.vfolder)
    return answer({"path": str(path)})


def _check_inside(root: int, path: VFolderPath) -> None:
    try:
        paths.stat_beneath(root, path)
    except EntryNotFound:
        return
