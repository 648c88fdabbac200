"""The artifact storages of this node, by the names of the configuration."""

from threading import Thread

from backends.volumes.artifacts.objects import ObjectStorage
from backends.volumes.artifacts.vfs import VfsStorage
from core.errors import StorageError, StorageKindWrong, StorageNotFound
from core.settings import ArtifactStorageTable, Settings
from core.telemetry import logger

#: The start of a process waits this long for a storage (seconds).
START_SECONDS = 10.0
_log = logger(__name__)


class ArtifactStorages:
    """The storages that the configuration names. Making one touches no storage."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def table(self, name: str) -> ArtifactStorageTable:
        """Return the table of a storage.

        Raises:
            StorageNotFound: no storage has this name.
        """
        table = self._settings.artifact_storages.get(name)
        if table is None:
            raise StorageNotFound("No artifact storage of this name is configured here.")
        return table

    def vfs(self, name: str) -> VfsStorage:
        """Return a VFS storage.

        Raises:
            StorageNotFound: no storage has this name.
            StorageKindWrong: it is an object storage.
        """
        table = self.table(name)
        if table.vfs_storage is None or table.type != "vfs_storage":
            raise StorageKindWrong("This artifact storage is an object storage, no VFS storage.")
        return VfsStorage(name, table.vfs_storage, self._settings.directory)

    def objects(self, name: str) -> ObjectStorage:
        """Return an object storage.

        Raises:
            StorageNotFound: no storage has this name.
            StorageKindWrong: it is a VFS storage.
        """
        table = self.table(name)
        if table.object_storage is None or table.type != "object_storage":
            raise StorageKindWrong("This artifact storage is a VFS storage, no object storage.")
        return ObjectStorage(name, table.object_storage)

    def begin(self, owner: tuple[int, int] | None = None) -> None:
        """Prepare every VFS storage at the start of a process, before it forks.

        A storage that fails, or does not answer in time, is logged; its own calls fail later.
        """
        for name, table in self._settings.artifact_storages.items():
            if table.type == "vfs_storage":
                storage = self.vfs(name)
                thread = Thread(target=_begin, args=(storage, owner), daemon=True)
                thread.start()
                thread.join(START_SECONDS)
                if thread.is_alive():
                    _log.warning("artifact storage does not answer", storage=name)


def _begin(storage: VfsStorage, owner: tuple[int, int] | None) -> None:
    try:
        storage.begin(owner)
    except StorageError as error:
        _log.warning("artifact storage not ready", storage=storage.name, reason=error.detail)
