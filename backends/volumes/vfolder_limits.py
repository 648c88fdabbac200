"""The limit of one vfolder, as its access record says."""

from backends.base import Backend
from backends.entries import access_files
from backends.quota import VFolderLimit
from core.access import RecordForged, Seals, VFolderRecord, records
from core.errors import VFolderNotFound
from core.names import VFolderId


def limit_of_record(backend: Backend, seals: Seals, vfolder: VFolderId) -> VFolderLimit | None:
    """Return the limit of a live vfolder; None without one. A forged record limits nothing.

    Costs one small read.
    """
    try:
        file = access_files.read(backend, vfolder)
    except VFolderNotFound:
        return None
    if file.text is None:
        return None
    try:
        place = records.place_of(backend.mount.volume, vfolder)
        record = seals.opened(file.text, place, VFolderRecord)
    except RecordForged:
        return None
    if record.limit_bytes is None:
        return None
    return VFolderLimit(record.limit_bytes, record.owner.id.hex)
