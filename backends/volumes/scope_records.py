"""The vfolders of one quota scope with their access records, for lists of what an owner has."""

import errno
import os
from uuid import UUID

from backends.base import Backend, MountedBackend
from backends.entries import RecordFile, access_files, take_inventory
from backends.fs import descriptors, translate
from core.errors import VFolderNotFound
from core.names import QuotaScope, VFolderId


def records_of_scope(backend: Backend, scope: QuotaScope) -> list[RecordFile]:
    """Return every live vfolder of a scope with its record; none where there is no such scope.

    Costs a listing per prefix directory and a small read for each vfolder.
    """
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        return []
    try:
        with mounted.root() as root, descriptors.opened(scope.directory, root) as directory:
            found = take_inventory(directory).vfolders
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return []
        raise translate(error) from error
    ids = [VFolderId(scope, UUID(os.fspath(path).replace("/", ""))) for path in found]
    records = []
    for vfolder in ids:
        try:
            records.append(access_files.read(backend, vfolder))
        except VFolderNotFound:  # deleted meanwhile
            continue
    return records
