"""The submission of an import, which is the same for every kind of registry."""

from typing import Literal

from api.jobs import MANAGER, JobSubmission, pointer
from api.routes import current_door
from api.schemas import artifact_registries as schemas
from api.schemas.bodies import UnreadableDocument
from backends.volumes import operations
from backends.volumes.artifacts import VfsStorage
from core.errors import (
    InvalidParameters,
    RegistryNotFound,
    StorageError,
    StorageKindWrong,
    StorageNotFound,
    StoragePathRefused,
    UnknownVolume,
    VFolderNotFound,
)
from core.jobs.requests import ImportRequest, queue_of_storage
from core.names import VFolderId

#: What every route that imports refuses.
IMPORT_ERRORS: tuple[type[StorageError], ...] = (
    UnreadableDocument,
    RegistryNotFound,
    InvalidParameters,
    StorageNotFound,
    StorageKindWrong,
    StoragePathRefused,
    UnknownVolume,
    VFolderNotFound,
)


def submit_import(
    order: schemas.ImportOrder, registry_type: Literal["huggingface", "reservoir"]
) -> str:
    """Check every target of an order, submit the job, and return its id.

    Raises:
        StorageNotFound, UnknownVolume, VFolderNotFound: a target does not exist.
        InvalidParameters: the targets are not possible.
        StoragePathRefused: the files would go to our own ones.
    """
    door = current_door()
    targets = order.targets()
    for target in targets.values():
        _check(target)
    last = list(targets.values())[-1]
    storage, vfolder = last.get("storage_name"), last.get("vfolder_id")
    request = ImportRequest(
        volume=queue_of_storage(storage) if storage else str(last.get("volume_name")),
        registry=order.registry_name,
        registry_type=registry_type,
        models=order.revisions(),
        vfolder=str(VFolderId.parse(str(vfolder))) if not storage else None,
        prefix=order.storage_prefix,
        verify="verify" in targets,
    )
    if storage and door.artifact_storages.table(storage).type == "vfs_storage":
        for place in request.places():
            VfsStorage.parse(place)
    job = door.jobs.submit_own(request, JobSubmission(MANAGER))
    return job.id


def _check(target: dict[str, str | None]) -> None:
    door = current_door()
    if name := target.get("storage_name"):
        door.artifact_storages.table(name)
        return
    volume, vfolder = str(target.get("volume_name")), VFolderId.parse(str(target.get("vfolder_id")))
    door.volume_access.check_known(volume)
    if vfolder.scope is None:
        raise pointer("vfolder_id", "needs a quota scope")
    if not door.volume_access.on_volume(volume, operations.exists, vfolder):
        raise VFolderNotFound(f"The vfolder {vfolder} does not exist.")
