"""Access records as files: read, replaced under the scope's lock, moved with the trash.

    <scope>/.vfolder/meta/<vfolder hex>.access    of a vfolder
    <scope>/.vfolder/meta/scope.subject           of the user or group of the scope
    <scope>/.vfolder/trash/<job id>.access        of a vfolder in the trash

What a file says is opaque here: `core.access` seals it. A change names the text that it replaces,
so of two changes at the same time the later one is refused. The user's tree has none of these.
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import PurePosixPath
from uuid import UUID

from msgspec import Struct

from backends.base import Backend, MountedBackend
from backends.fs import atomic, descriptors, layout, translated
from backends.mounted import scope_lock
from backends.mounted.rest import deadline
from core.access import records
from core.errors import Conflict, Unsupported
from core.names import QuotaScope, VFolderId

#: How long a change waits for another change of the scope (seconds).
LOCK_SECONDS = 10.0
#: Most records that one page has.
PAGE_MAX = 1000
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class RecordChanged(Conflict):
    """The record was changed by another request meanwhile; read it again."""

    error_code = "vfolder_update_conflict"
    kind = "storage/vfolder/record-changed"
    title = "The record was changed meanwhile"


class RecordFile(Struct, frozen=True, kw_only=True):
    """One record as it lies on the volume; `text` is None where there is no file."""

    id: UUID
    #: The directory of the scope: 32 hexadecimal digits, or `.` for vfolders without a scope.
    scope: str
    text: bytes | None = None
    #: Whether the vfolder itself is there. A record without it belongs to none.
    exists: bool = True


class RecordPage(Struct, frozen=True, kw_only=True):
    """Some records of a volume, and where the next page begins; empty at the end."""

    records: list[RecordFile]
    next: str = ""


def digest(text: bytes | None) -> str:
    """Return what names a text in a change; empty for no text."""
    return hashlib.sha256(text).hexdigest() if text is not None else ""


# -- Of a vfolder ----------------------------------------------------------------------------------
def read(backend: Backend, vfolder: VFolderId) -> RecordFile:
    """Return the record of a live vfolder.

    Raises:
        VFolderNotFound: the vfolder does not exist.
    """
    backend.check_vfolder(vfolder)
    with translated(), _mounted(backend).root() as root:
        text = _text(root, layout.record(vfolder))
    return RecordFile(id=vfolder.id, scope=_scope_of(vfolder), text=text)


def read_trashed(backend: Backend, vfolder: VFolderId, trash_id: str) -> bytes | None:
    """Return the record of a vfolder in the trash; None when it has none."""
    with translated(), _mounted(backend).root() as root:
        return _text(root, layout.trashed_record(vfolder.scope, trash_id))


def locate(backend: Backend, vfolder: UUID, scopes: list[str] | None = None) -> list[str]:
    """Return the directories of the scopes that have a live vfolder of this id.

    Costs a look into each of `scopes`; without them into every scope of the volume.
    """
    below = VFolderId(None, vfolder).directory
    with translated(), _mounted(backend).root() as root:
        return [
            scope
            for scope in (layout.scopes(root) if scopes is None else scopes)
            if descriptors.exists(PurePosixPath(scope) / below, root)
        ]


def find(backend: Backend, vfolder: UUID) -> list[RecordFile]:
    """Return the records of the live vfolders of an id, one for each scope that has it.

    Costs as `locate`.
    """
    found = []
    for scope in locate(backend, vfolder):
        name = f"{vfolder.hex}{layout.RECORD_SUFFIX}"
        with translated(), _mounted(backend).root() as root:
            text = _text(root, layout.scope_area(scope, layout.META) / name)
        found.append(RecordFile(id=vfolder, scope=scope, text=text))
    return found


def replace(backend: Backend, vfolder: VFolderId, text: bytes, before: str) -> None:
    """Write the record of a live vfolder; it is on disk when this returns.

    Args:
        backend: of the volume.
        vfolder: the vfolder.
        text: the new text, sealed.
        before: `digest` of the text that it replaces; empty where there is none.

    Raises:
        VFolderNotFound: the vfolder does not exist.
        RecordChanged: the present text is another one.
        Conflict: the new text is longer than any record that is read.
        NoSpace, QuotaExceeded: the volume or the quota scope is full.
    """
    path = layout.record(vfolder)
    with translated(), _alone(backend, vfolder.scope) as root:
        backend.check_vfolder(vfolder)
        _replace(root, path, text, before)


def drop(backend: Backend, vfolder: VFolderId) -> None:
    """Remove the record of a vfolder that does not exist; a new one of its id begins without.

    It waits for a restore that is bringing the vfolder back.
    """
    path = layout.record(vfolder)
    with translated(), _mounted(backend).root() as root:
        if not _is_orphaned(root, vfolder, path):
            return
    with translated(), _alone(backend, vfolder.scope) as root:
        if _is_orphaned(root, vfolder, path):
            _unlink(root, path)


def _is_orphaned(root: int, vfolder: VFolderId, path: PurePosixPath) -> bool:
    return descriptors.exists(path, root) and not descriptors.exists(vfolder.directory, root)


# -- Of a user or group ----------------------------------------------------------------------------
def read_subject(backend: Backend, subject: UUID) -> bytes | None:
    """Return the record of a user or group on this volume; None when it has none."""
    with translated(), _mounted(backend).root() as root:
        return _text(root, layout.subject(subject))


def replace_subject(
    backend: Backend, scope: QuotaScope, text: bytes, before: str, *, make_scope: bool = True
) -> None:
    """Write the record of a user or group, as `replace`; a missing scope is made first.

    Raises:
        RecordChanged: the present text is another one.
        QuotaScopeNotFound: the scope does not exist, and `make_scope` is false.
        NoSpace, QuotaExceeded: the volume or the quota scope is full.
    """
    with translated(), _alone(backend, scope) as root:
        if not descriptors.exists(PurePosixPath(scope.directory), root) and make_scope:
            backend.create_scope(scope)
        with _mounted(backend).open_scope(scope):
            _replace(root, layout.subject(scope.id), text, before)


# -- With the trash --------------------------------------------------------------------------------
@contextmanager
def going_to_trash(backend: Backend, vfolder: VFolderId, trash_id: str) -> Iterator[None]:
    """Take the record along with a vfolder that the block renames into the trash."""
    here, there = layout.record(vfolder), layout.trashed_record(vfolder.scope, trash_id)
    with _along(backend, vfolder.scope, here, there):
        yield


@contextmanager
def coming_back(backend: Backend, vfolder: VFolderId, trash_id: str) -> Iterator[None]:
    """Bring the record back before the block renames its vfolder out of the trash.

    So a restored vfolder is never seen without its owner. A block that fails, because another
    vfolder has the id, leaves the record in the trash.
    """
    there, here = layout.trashed_record(vfolder.scope, trash_id), layout.record(vfolder)
    with _mounted(backend).root() as root:
        is_live = descriptors.exists(vfolder.directory, root)
    with _along(backend, vfolder.scope, there, here) if not is_live else nullcontext():
        yield


@contextmanager
def _along(
    backend: Backend, scope: QuotaScope | None, source: PurePosixPath, target: PurePosixPath
) -> Iterator[None]:
    """Have a record at both places during the block, then at `target`; at `source` if it fails.

    No other process changes or drops a record of the scope meanwhile. A kill leaves it at `source`,
    whatever drops the other one; so the next run of the job finds it.

    Raises:
        OSError: as it came, for the caller to judge, as all of its block.
    """
    with _mounted(backend).root() as root:
        if not descriptors.exists(source, root):
            yield
            return
    with _alone(backend, scope) as root:
        text = _text(root, source)
        if text is not None:
            with descriptors.made(target.parent, root, descriptors.HIDDEN_MODE) as directory:
                atomic.replace_file(directory, target.name, text)
        try:
            yield
        except BaseException:
            _unlink(root, target)
            raise
        _unlink(root, source)


def to_trash(backend: Backend, vfolder: VFolderId, trash_id: str) -> None:
    """Move a record that was written while its vfolder went into the trash; there may be none."""
    here, there = layout.record(vfolder), layout.trashed_record(vfolder.scope, trash_id)
    with translated(), _mounted(backend).root() as root:
        if not descriptors.exists(here, root):
            return
    with translated(), _alone(backend, vfolder.scope) as root:
        if not descriptors.exists(vfolder.directory, root):
            with suppress(FileNotFoundError):
                _move(root, here, there)


def forget_trashed(backend: Backend, vfolder: VFolderId, trash_id: str) -> None:
    """Remove what a killed restore left in the trash; the vfolder and its record are back."""
    with translated(), _mounted(backend).root() as root:
        _unlink(root, layout.trashed_record(vfolder.scope, trash_id))


# -- All of a volume -------------------------------------------------------------------------------
def page(backend: Backend, after: str = "", limit: int = PAGE_MAX) -> RecordPage:
    """Return records of vfolders in the order of `<scope>/<hex>`; costs a read for each of them."""
    found: list[RecordFile] = []
    with translated(), _mounted(backend).root() as root:
        for scope, name in _names(root, after):
            if len(found) == limit:
                last = found[-1]
                return RecordPage(records=found, next=f"{last.scope}/{last.id.hex}")
            found.append(_record(root, scope, name))
    return RecordPage(records=found)


def subjects(backend: Backend) -> dict[str, bytes]:
    """Return the records of users and groups of a volume, by the directory of their scope."""
    found = {}
    with translated(), _mounted(backend).root() as root:
        for scope in layout.scopes(root):
            text = _text(root, layout.scope_area(scope, layout.META) / layout.SUBJECT)
            if text is not None:
                found[scope] = text
    return found


def _names(root: int, after: str) -> Iterator[tuple[str, str]]:
    past, _, last = after.partition("/")
    for scope in layout.scopes(root):
        if scope < past:
            continue
        for name in descriptors.names(layout.scope_area(scope, layout.META), root):
            bare = name.removesuffix(layout.RECORD_SUFFIX)
            if bare != name and layout.is_id(bare) and not (scope == past and bare <= last):
                yield scope, bare


def _record(root: int, scope: str, name: str) -> RecordFile:
    vfolder = UUID(name)
    tree = PurePosixPath(scope) / VFolderId(None, vfolder).directory
    path = layout.scope_area(scope, layout.META) / (name + layout.RECORD_SUFFIX)
    return RecordFile(
        id=vfolder,
        scope=scope,
        text=_text(root, path),
        exists=descriptors.exists(tree, root),
    )


# -- Files -----------------------------------------------------------------------------------------
def _text(root: int, path: PurePosixPath) -> bytes | None:
    """Return the content of a file; None when it is absent, empty when it cannot be ours."""
    try:
        with descriptors.opened(path.parent, root) as directory:
            fd = os.open(path.name, _READ, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link has the name
            return b""
        raise
    with open(fd, "rb") as file:
        text = file.read(records.RECORD_MAX_BYTES + 1)
    return text if len(text) <= records.RECORD_MAX_BYTES else b""


def _replace(root: int, path: PurePosixPath, text: bytes, before: str) -> None:
    if len(text) > records.RECORD_MAX_BYTES:  # no reader would take it
        raise Conflict("The record would be too long; remove grants or keys first.")
    if digest(_text(root, path)) != before:
        raise RecordChanged("The record was changed by another request; read it again.")
    with descriptors.made(path.parent, root, descriptors.HIDDEN_MODE) as directory:
        # One writer at a time: the draft that a killed one left is replaced by the next.
        atomic.replace_file(directory, path.name, text, draft=f".{path.name}.new")


def _unlink(root: int, path: PurePosixPath) -> None:
    """Remove a file that may be gone already."""
    with suppress(FileNotFoundError), descriptors.opened(path.parent, root) as directory:
        os.unlink(path.name, dir_fd=directory)
        os.fsync(directory)


def _move(root: int, source: PurePosixPath, target: PurePosixPath) -> None:
    with (
        descriptors.opened(source.parent, root) as old,
        descriptors.made(target.parent, root, descriptors.HIDDEN_MODE) as new,
    ):
        os.rename(source.name, target.name, src_dir_fd=old, dst_dir_fd=new)
        os.fsync(new)


@contextmanager
def _alone(backend: Backend, scope: QuotaScope | None) -> Iterator[int]:
    """Hold the lock of a scope, and give the descriptor of the volume."""
    what = f"Quota scope {scope}" if scope else "The volume"
    number = scope.id.int if scope else 0
    with (
        deadline.within(LOCK_SECONDS),
        _mounted(backend).root() as root,
        scope_lock.alone(root, number, what),
    ):
        yield root


def _scope_of(vfolder: VFolderId) -> str:
    return vfolder.scope.directory if vfolder.scope else "."


def _mounted(backend: Backend) -> MountedBackend:
    mounted = backend.skill(MountedBackend)
    if mounted is None:
        raise Unsupported("This volume keeps no records.")
    return mounted
