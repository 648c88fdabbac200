"""Vfolders whose entries are objects of a bucket: what other rooms call, whatever the storage.

Such a volume has a mounted directory too (`backends.systems.s3`), but no vfolder has a directory to
open. `perform` does an operation of `entries` or `listing` in a vfolder of either kind.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Protocol, Self, TypeVar, runtime_checkable

from backends.base import Backend
from backends.entries.listing import DescribedEntry, EntryPage
from backends.quota import quick_usage
from backends.tree import Usage
from core.errors import Unsupported
from core.names import VFolderId, VFolderPath

T = TypeVar("T")
_NO_DIRECTORY = "Volume {} keeps vfolders as objects of a bucket, which cannot do this: {}."


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file, and the inode they are from; objects have a number of their version."""

    inode: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """An object of a vfolder: a file, a symlink, or with `marker` a directory.

    `path` is None where no path can have the key, which `name` shows.
    """

    name: str
    path: VFolderPath | None
    size: int
    etag: str
    modified: datetime | None
    marker: bool = False


@dataclass(frozen=True, slots=True)
class ContinuedUpload:
    """An upload that a later run of a job may continue; the file must be the same then."""

    #: The id that an earlier run noted; None without one.
    upload_id: str | None
    #: Notes the id of a new upload, before the first part is sent.
    note: Callable[[str], object]
    #: Only so many of its parts are known to be of this file; None: all.
    parts: int | None = None


class OpenObject(Protocol):
    """The bytes of one object, or of a range of it."""

    etag: str
    #: What belongs to it: mode, owner and times of a file as rclone and s3fs write them.
    metadata: dict[str, str]
    #: The size of the complete object in bytes, and when it was written.
    size: int
    modified: datetime | None

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill a buffer as far as bytes are there, and return their number; 0 at the end."""

    def close(self) -> None:
        """Close the connection."""


class ObjectFacts(Protocol):
    """What is known of an object."""

    @property
    def etag(self) -> str:
        """Its entity tag without quotes."""

    @property
    def size(self) -> int:
        """Its bytes."""

    @property
    def modified(self) -> datetime | None:
        """When it was written; None where the storage does not say."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """What belongs to it, as `OpenObject.metadata`."""


class ObjectTree(Protocol):
    """One vfolder of objects. Paths and errors are those of `entries` and `listing`."""

    def list_directory(
        self, path: VFolderPath, limit: int = 0, after: str | None = None
    ) -> EntryPage:
        """See `listing.list_directory`; in the order of keys, and `after` is a page's `next`."""

    def list_below(
        self, base: VFolderPath, path: VFolderPath, limit: int = 0, after: str | None = None
    ) -> EntryPage:
        """See `listing.list_below`; objects have no links that could lead out."""

    def make_directory(
        self,
        path: VFolderPath,
        *,
        parents: bool = True,
        exist_ok: bool = False,
        owned_by_directory: bool = False,
    ) -> None:
        """See `entries.make_directory`."""

    def rename(self, path: VFolderPath, new_name: str) -> None:
        """See `entries.rename`; of a directory with at most `MOVED_OBJECTS_MAX` objects."""

    def move(self, source: VFolderPath, target: VFolderPath) -> None:
        """See `entries.move`; of a directory with at most `MOVED_OBJECTS_MAX` objects."""

    def relocate(self, source: VFolderPath, target: VFolderPath, *, replace: bool) -> None:
        """See `entries.relocate`; of a directory with at most `MOVED_OBJECTS_MAX` objects."""

    def describe_entry(self, path: VFolderPath) -> DescribedEntry:
        """See `listing.describe_entry`."""

    def remove(
        self,
        targets: Sequence[VFolderPath],
        *,
        recursive: bool,
        most: int | None = ...,
        on_removed: Callable[[int], object] = ...,
    ) -> None:
        """See `entries.remove_entries`; refuses a directory of more than `most` objects.

        `on_removed` is called with the bytes that each step freed.
        """

    def check_inside(self, path: VFolderPath) -> None:
        """Accept every path: a bucket has no links, so none leads out."""

    def check_free(self, path: VFolderPath) -> None:
        """Check that no entry has a path.

        Raises:
            EntryExists: an entry has it.
            EntryRefused: a file is above it.
        """

    def is_directory(self, path: VFolderPath) -> bool:
        """Return whether a path is a directory.

        Raises:
            EntryNotFound: there is neither a file nor a directory.
        """

    def read_piece(self, path: VFolderPath, offset: int, size: int, inode: int = 0) -> Piece:
        """See `operations.read_piece`."""

    def head(self, path: VFolderPath) -> ObjectFacts | None:
        """Return what is known of a file; None when there is none."""

    def open_object(
        self, path: VFolderPath, start: int = 0, end: int | None = None, etag: str | None = None
    ) -> OpenObject:
        """Open a file, or its bytes from `start` until before `end`.

        Raises:
            EntryNotFound: there is no such file.
        """

    def count(self) -> quick_usage.Sums | None:
        """See `quick_usage.count`."""

    def usage(
        self, on_entry: Callable[[int], object] = int, *, ages_at: int = 0, top: int = 0
    ) -> Usage:
        """Count by listing; `on_entry` is called with the bytes of each object and may raise.

        `ages_at` and `top` are those of `UsageOptions`.
        """

    def presigned(self, path: VFolderPath, disposition: str) -> str | None:
        """Return a URL that sends a file from the storage; None where the volume's own door does.

        `disposition` is the header `Content-Disposition` of its answer.
        """

    def below(self, path: VFolderPath) -> Self:
        """Return the objects of a directory as a tree of their own."""

    def entries(self) -> Iterator[ObjectEntry]:
        """Yield every object; in the order of keys, except that some servers have their own."""

    def send(
        self,
        path: VFolderPath,
        descriptor: int,
        size: int,
        metadata: Mapping[str, str],
        *,
        on_part: Callable[[int], object] = ...,
        continued: ContinuedUpload | None = None,
    ) -> None:
        """Write an object of a tree that no other writes; the path of an open file, `size` bytes.

        A big file goes in parts. With `continued`, those that an earlier run sent are not sent
        again, and an interrupted upload stays for the next run.

        Raises:
            InvalidParameters: the path is too long for a key, or is no text in UTF-8.
        """

    def put_file(
        self,
        path: VFolderPath,
        descriptor: int,
        size: int,
        *,
        on_part: Callable[[int], object] = ...,
        metadata: Mapping[str, str] | None = None,
        continued: ContinuedUpload | None = None,
    ) -> None:
        """Write a file as `send` does, into a tree that has other entries; an older file goes.

        Raises:
            EntryExists: a directory has this name.
            EntryRefused: a file is where a directory should be.
        """

    def abandon(self, path: VFolderPath, upload_id: str) -> None:
        """Remove the parts of an upload that no run continues; absent or complete is a success."""

    def send_link(self, path: VFolderPath, target: str, metadata: Mapping[str, str]) -> None:
        """Write the object of a symlink: its bytes are the target."""

    def take(self, source: Self, entry: ObjectEntry, place: VFolderPath | None = None) -> None:
        """Copy an object of another tree, with its metadata, to the same path here or to `place`.

        By the storage where both are on one endpoint, else through this process.

        Raises:
            Conflict: the object is another one now.
        """

    def drop(self, names: Sequence[str]) -> Iterator[str]:
        """Remove objects by the names of their entries, and nothing else; absent ones are fine.

        Yields the names of those that the storage did not remove.
        """

    def marker_metadata(self, path: VFolderPath) -> Mapping[str, str]:
        """Return the metadata of the marker of a directory.

        Raises:
            EntryNotFound: it has none.
        """

    def mark(self, path: VFolderPath, metadata: Mapping[str, str]) -> None:
        """Write the marker of a directory."""

    def copy_all(self, target: Self) -> Generator[int, None, None]:
        """Copy every object to another vfolder of the volume, and yield the bytes of each.

        Closed earlier, it returns when no copy is under way.
        """

    def differences(self, target: Self, *, by_content: bool) -> Iterator[str]:
        """Yield what differs between two vfolders: names, sizes, and bytes with `by_content`."""

    def remove_all(self, on_removed: Callable[[int], object] = ...) -> Iterator[str]:
        """Remove every object, and yield the path of each that the storage did not remove.

        `on_removed` is called with the number of objects that each step removed; it may raise.
        """


@runtime_checkable
class HasObjects(Protocol):
    """A volume whose vfolders are objects of a bucket."""

    def heed(self, check: Callable[[], object]) -> None:
        """Call `check` while a call waits for an overloaded storage; what it raises ends the call.

        A job gives its own, so that it ends soon when it is cancelled.
        """

    def tree(self, vfolder: VFolderId) -> ObjectTree:
        """Return the objects of a vfolder.

        Raises:
            VFolderNotFound: the vfolder does not exist.
        """

    def tree_at(self, path: PurePosixPath, root: int) -> ObjectTree:
        """Return the objects of a vfolder whose record is at a path of the volume: in the trash."""

    def draft(self, vfolder: VFolderId, name: str) -> ObjectTree:
        """Return the empty objects of a vfolder that does not exist yet; again for the same name.

        `name` is that of the job, or of a caller who publishes it at once.
        """

    def publish_draft(self, vfolder: VFolderId, name: str) -> None:
        """Make the vfolder of its draft, by one rename.

        Raises:
            VFolderExists: the vfolder exists.
        """

    def sweep(self) -> int:
        """Abort the multipart uploads of processes that died; return their number."""

    def drop_draft(self, vfolder: VFolderId, name: str) -> None:
        """Remove a draft and its objects; a missing one is a success."""


def perform(
    backend: Backend,
    vfolder: VFolderId,
    operation: Callable[..., T],
    *args: object,
    **kwargs: object,
) -> T:
    """Do an operation that takes the root of a vfolder first; objects do their own.

    Raises:
        VFolderNotFound: the vfolder does not exist.
        Unsupported: a bucket cannot do it.
    """
    objects = backend.skill(HasObjects)
    if objects is None:
        with backend.open_vfolder(vfolder) as root:
            return operation(root, *args, **kwargs)
    own: Callable[..., T] | None = getattr(objects.tree(vfolder), operation.__name__, None)
    if own is None:
        raise unsupported(backend, operation.__name__.replace("_", " "))
    return own(*args, **kwargs)


def unsupported(backend: Backend, what: str) -> Unsupported:
    """Return the error for what no bucket can do."""
    return Unsupported(_NO_DIRECTORY.format(backend.mount.volume, what))
