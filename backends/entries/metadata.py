"""Metadata that the manager stores about a vfolder: one small file beside it, complete or absent.

It lies in the hidden directory of the quota scope (see `layout`), never inside the vfolder.
"""

import os

from backends.base import Backend, MountedBackend
from backends.fs import atomic, descriptors, layout, translated
from core.errors import InvalidParameters, Unsupported
from core.names import VFolderId

#: Largest payload, in bytes.
PAYLOAD_MAX_BYTES = 10 * 1024 * 1024


class MetadataTooLarge(InvalidParameters):
    """The payload is larger than `PAYLOAD_MAX_BYTES`."""

    error_code = "storage_create_invalid-parameters"
    kind = "storage/volume/metadata-too-large"
    title = "Metadata too large"


def write(backend: Backend, vfolder: VFolderId, payload: bytes) -> None:
    """Store the payload, in place of an older one; it is on disk when this returns.

    Raises:
        VFolderNotFound: the vfolder does not exist.
        MetadataTooLarge: the payload is larger than `PAYLOAD_MAX_BYTES`.
        NoSpace, QuotaExceeded: the volume or the quota scope is full.
    """
    if len(payload) > PAYLOAD_MAX_BYTES:
        raise MetadataTooLarge(f"Metadata may have {PAYLOAD_MAX_BYTES} bytes at most.")
    path = layout.metadata(vfolder)
    backend.check_vfolder(vfolder)
    with (
        translated(),
        _mounted(backend).root() as root,
        descriptors.made(path.parent, root, descriptors.HIDDEN_MODE) as directory,
    ):
        atomic.replace_file(directory, path.name, payload)


def read(backend: Backend, vfolder: VFolderId) -> bytes | None:
    """Return the payload; None when none was stored.

    Raises:
        VFolderNotFound: the vfolder does not exist.
    """
    path = layout.metadata(vfolder)
    backend.check_vfolder(vfolder)
    with translated(), _mounted(backend).root() as root:
        try:
            with descriptors.opened(path.parent, root) as directory:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                with open(os.open(path.name, flags, dir_fd=directory), "rb") as file:
                    return file.read(PAYLOAD_MAX_BYTES)
        except FileNotFoundError:
            return None


def _mounted(backend: Backend) -> MountedBackend:
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        raise Unsupported("This volume keeps no metadata.")
    return mounted
