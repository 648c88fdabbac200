"""One vfolder as objects below a prefix, seen as files and directories.

A directory exists while a key begins with its path and a slash; an empty one has the marker
`path/`, an object without bytes. When the last entry of a directory goes, it gets its marker, as a
file system would keep it. Keys that no path can have (`a//b`, `../x`) are counted and removed with
the vfolder, and are in no listing.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby, islice, zip_longest
from typing import Any

from backends.entries import ContinuedUpload, DescribedEntry, EntryPage, ObjectEntry, Piece
from backends.quota import quick_usage
from backends.systems.s3.bucket import Bucket
from backends.systems.s3.endpoint import S3Endpoint
from backends.systems.s3.errors import ObjectNotFound, ObjectStorageFailed
from backends.systems.s3.multipart import MultipartUpload
from backends.systems.s3.objects import (
    DEFAULT_CONTENT_TYPE,
    DIRECTORY_TYPE,
    ObjectHead,
    StoredObject,
    check_key,
    directory_metadata,
    directory_type,
)
from backends.systems.s3.reading import ObjectReader
from backends.systems.s3.tally import ObjectTally
from backends.tree import Usage
from core.errors import (
    EntryExists,
    EntryNotFound,
    EntryRefused,
    InvalidName,
    StorageError,
    Unsupported,
)
from core.names import VFolderPath

#: A directory with more objects is not moved while a caller waits: each is copied by the storage.
MOVED_OBJECTS_MAX = 1_000
#: Objects of one removal that a caller waits for; more are removed by a job.
REMOVED_OBJECTS_MAX = 10_000
#: A client follows a redirect at once; a download that began is not cut by the end of its URL.
PRESIGNED_SECONDS = 300
_FILE_MODE, _DIRECTORY_MODE = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755
#: What the form of an item has where the storage knows no moment.
_UNKNOWN_MOMENT = datetime.fromtimestamp(0, UTC)
#: Digits of a number that stands for an inode.
_NUMBER_BYTES = 7


class VFolderObjects:
    """The objects of one vfolder; see `backends.entries.ObjectTree`."""

    def __init__(self, bucket: Bucket, prefix: str, presigning: S3Endpoint | None = None) -> None:
        """Take the bucket and the prefix, which ends in a slash.

        `presigning` is the endpoint of URLs for clients; None: the doors send all bytes.
        """
        self.bucket = bucket
        self.prefix = prefix
        self._presigning = presigning

    # -- Look --------------------------------------------------------------------------------------
    def list_below(
        self, base: VFolderPath, path: VFolderPath, limit: int = 0, after: str | None = None
    ) -> EntryPage:
        """See `ObjectTree`."""
        return self.list_directory(base / path, limit, after)

    def list_directory(
        self, path: VFolderPath, limit: int = 0, after: str | None = None
    ) -> EntryPage:
        """See `ObjectTree.list_directory`."""
        base = self._below(path)
        items: list[dict[str, Any]] = []
        cursor, seen = after, False
        while True:
            left = limit - len(items) if limit else None
            page = self.bucket.page(base, delimiter="/", cursor=cursor, limit=left)
            seen = seen or bool(page.objects or page.prefixes)
            items += [item for one in page.objects if (item := _file(one, base))]
            items += [item for one in page.prefixes if (item := _directory(one, base))]
            cursor = page.cursor
            if cursor is None or (limit and len(items) >= limit):
                break
        if not seen and after is None and not path.is_root:
            raise self._absent_directory(path)
        return EntryPage(items, cursor)

    def _absent_directory(self, path: VFolderPath) -> EntryRefused:
        if self.bucket.find(self._key(path)) is None:
            return _refused(path, "does not exist", errno.ENOENT)
        return _refused(path, "is not a directory", errno.ENOTDIR)

    def describe_entry(self, path: VFolderPath) -> DescribedEntry:
        """See `ObjectTree.describe_entry`."""
        head = self.head(path)
        if head is not None:
            moment = head.modified or _UNKNOWN_MOMENT
            return DescribedEntry(
                _item(path.name, "FILE", _FILE_MODE, head.size, moment), head.etag
            )
        self.is_directory(path)  # it raises where there is nothing
        return DescribedEntry(_item(path.name, "DIRECTORY", _DIRECTORY_MODE, 0, _UNKNOWN_MOMENT))

    def check_inside(self, path: VFolderPath) -> None:
        """See `ObjectTree.check_inside`."""

    def check_free(self, path: VFolderPath) -> None:
        """See `ObjectTree.check_free`."""
        if path.is_root or self._is_file(path) or self._has_below(path):
            raise EntryExists("An entry of that name is there; choose a new name.")
        self._check_parents(path)

    def is_directory(self, path: VFolderPath) -> bool:
        """See `ObjectTree.is_directory`."""
        if path.is_root or self._has_below(path):
            return True
        if self._is_file(path):
            return False
        raise EntryNotFound(f"{path} does not exist.")

    def open_object(
        self, path: VFolderPath, start: int = 0, end: int | None = None, etag: str | None = None
    ) -> ObjectReader:
        """See `ObjectTree.open_object`."""
        if path.is_root:
            raise EntryNotFound("The vfolder itself is no file.")
        try:
            return self.bucket.read(self._key(path), start, end, etag=etag)
        except ObjectNotFound:
            raise EntryNotFound(f"{path} is no file.") from None

    def presigned(self, path: VFolderPath, disposition: str) -> str | None:
        """See `ObjectTree.presigned`."""
        if self._presigning is None:
            return None
        bucket = Bucket(self._presigning, self.bucket.name)
        headers = {"ContentDisposition": disposition, "ContentType": DEFAULT_CONTENT_TYPE}
        return bucket.presigned_get(self._key(path), PRESIGNED_SECONDS, **headers)

    def read_piece(self, path: VFolderPath, offset: int, size: int, inode: int = 0) -> Piece:
        """See `ObjectTree.read_piece`."""
        try:
            with self.open_object(path, offset, offset + size) as reader:
                number, data = _number(reader.etag), b"".join(reader)
        except StorageError as error:
            if error.facts.get("s3_code") != "InvalidRange":
                raise
            number, data = inode, b""
        if inode and number != inode:
            raise EntryRefused("The file was replaced while it was read.", paths=[str(path)])
        return Piece(number, data)

    def _is_file(self, path: VFolderPath) -> bool:
        return self.bucket.find(self._key(path)) is not None

    def _has_below(self, path: VFolderPath) -> bool:
        page = self.bucket.page(self._below(path), limit=1)
        return bool(page.objects)

    def _key(self, path: VFolderPath) -> str:
        return self.prefix + "/".join(path.parts)

    def _below(self, path: VFolderPath) -> str:
        return self.prefix if path.is_root else self._key(path) + "/"

    # -- Count -------------------------------------------------------------------------------------
    def count(self) -> quick_usage.Sums | None:
        """See `ObjectTree.count`."""
        tally = ObjectTally(self.prefix)
        for number, one in enumerate(self.bucket.walk(self.prefix)):
            if number >= quick_usage.ENTRIES_MAX:
                return None
            tally.add(one)
        found = tally.usage(0)
        return quick_usage.Sums(found.entries, found.size_bytes, found.allocated_bytes)

    def usage(
        self, on_entry: Callable[[int], object] = int, *, ages_at: int = 0, top: int = 0
    ) -> Usage:
        """See `ObjectTree.usage`."""
        tally = ObjectTally(self.prefix, ages_at)
        for one in self.bucket.walk(self.prefix):
            on_entry(one.size)
            tally.add(one)
        return tally.usage(top)

    # -- Change ------------------------------------------------------------------------------------
    def make_directory(
        self,
        path: VFolderPath,
        *,
        parents: bool = True,
        exist_ok: bool = False,
        owned_by_directory: bool = False,  # noqa: ARG002 - objects have no owners
    ) -> None:
        """See `ObjectTree.make_directory`."""
        if path.is_root:
            if exist_ok:
                return
            raise EntryRefused("The vfolder itself exists.", errno=errno.EEXIST, paths=["."])
        if self._is_file(path) or (self._has_below(path) and not exist_ok):
            raise _refused(path, "already exists", errno.EEXIST)
        self._check_parents(path)
        if not parents and not path.parent.is_root and not self._has_below(path.parent):
            raise _refused(path, "has no directory to be in", errno.ENOENT)
        for length in range(1, len(path.parts) + 1):
            self._mark(VFolderPath(path.parts[:length]))

    def _mark(self, path: VFolderPath) -> None:
        """Give a directory its marker when nothing keeps it."""
        if not path.is_root and not self._has_below(path):
            self.bucket.put(self._below(path), b"", content_type=DIRECTORY_TYPE)

    def _check_parents(self, path: VFolderPath) -> None:
        """Refuse a path below a file: no file system could show both."""
        for length in range(1, len(path.parts)):
            parent = VFolderPath(path.parts[:length])
            if self._is_file(parent):
                raise _refused(parent, "is not a directory", errno.ENOTDIR)

    def put_file(
        self,
        path: VFolderPath,
        descriptor: int,
        size: int,
        *,
        on_part: Callable[[int], object] = int,
        **more: Any,  # noqa: ANN401 - as `Bucket.upload_file`
    ) -> None:
        """See `ObjectTree.put_file`."""
        if path.is_root or self._has_below(path):
            raise EntryExists(f"{path} is a directory; no file replaces it.")
        self._check_parents(path)
        self.bucket.upload_file(self._key(path), descriptor, size, on_part=on_part, **more)

    def begin(self, path: VFolderPath, metadata: Mapping[str, str]) -> MultipartUpload:
        """Begin a file whose parts come one by one."""
        return self.bucket.begin(self._key(path), metadata=metadata)

    def multipart(self, path: VFolderPath, upload_id: str) -> MultipartUpload:
        """Return what `begin` began; asks nothing."""
        return self.bucket.multipart(self._key(path), upload_id)

    def check_key(self, path: VFolderPath) -> None:
        """Check that an object may have the key of a path; asks nothing.

        Raises:
            ObjectRefused: the key is too long, or is no text in UTF-8.
        """
        check_key(self._key(path))

    def head(self, path: VFolderPath) -> ObjectHead | None:
        """Return what is known of a file; None when there is none."""
        if path.is_root:
            return None
        found = self.bucket.find(self._key(path))
        if found is None:  # HEAD answers the same where the bucket itself is missing
            self.bucket.check()
        return found

    def rename(self, path: VFolderPath, new_name: str) -> None:
        """See `ObjectTree.rename`."""
        target = VFolderPath.parse(new_name)
        if len(target.parts) != 1 or target.name != new_name:
            raise InvalidName("A new name is one name, without '/'.")
        if path.is_root:
            raise EntryRefused("The vfolder itself is not renamed.", errno=errno.EBUSY, paths=["."])
        self._move(path, path.parent / target)

    def move(self, source: VFolderPath, target: VFolderPath) -> None:
        """See `ObjectTree.move`."""
        if source.is_root:
            raise EntryRefused("The vfolder itself is not moved.", errno=errno.EBUSY, paths=["."])
        if target.is_root or self._has_below(target):
            target = target / VFolderPath((source.name,))
        if not target.parent.is_root and not self._has_below(target.parent):
            raise _refused(target, "has no directory to be in", errno.ENOENT)
        self._move(source, target)

    def relocate(self, source: VFolderPath, target: VFolderPath, *, replace: bool) -> None:
        """See `ObjectTree.relocate`."""
        if source.is_root:
            raise EntryRefused("The vfolder itself is not moved.", errno=errno.EBUSY, paths=["."])
        if source == target:
            return
        if not replace or target.is_root or self._has_below(target):
            self.check_free(target)
        if not target.parent.is_root and not self._has_below(target.parent):
            raise _refused(target, "has no directory to be in", errno.ENOENT)
        self._move(source, target)

    def _move(self, source: VFolderPath, target: VFolderPath) -> None:
        """Copy by the storage, then remove: a move that is interrupted loses nothing."""
        if source == target:
            return
        self._check_parents(target)
        if self._has_below(target):
            raise _refused(target, "is a directory", errno.EEXIST)
        file = self.bucket.find(self._key(source))
        if file is not None:
            self.bucket.copy(file, self._key(target))
            self.bucket.delete(file.key)
        else:
            self._move_directory(source, target)
        self._mark(source.parent)

    def _move_directory(self, source: VFolderPath, target: VFolderPath) -> None:
        before, after = self._below(source), self._below(target)
        if after.startswith(before):
            raise _refused(target, "is inside of what is moved", errno.EINVAL)
        found = list(islice(self.bucket.walk(before), MOVED_OBJECTS_MAX + 1))
        if not found:
            raise _refused(source, "does not exist", errno.ENOENT)
        if self._is_file(target):
            raise _refused(target, "already exists", errno.EEXIST)
        if len(found) > MOVED_OBJECTS_MAX:
            raise Unsupported(
                f"A bucket moves no directory of more than {MOVED_OBJECTS_MAX:,} objects."
            )
        list(self.bucket.copy_each((one, after + one.key[len(before) :]) for one in found))
        self._remove_found(before, found)

    def remove(
        self,
        targets: Sequence[VFolderPath],
        *,
        recursive: bool,
        most: int | None = REMOVED_OBJECTS_MAX,
        on_removed: Callable[[int], object] = int,
    ) -> None:
        """See `ObjectTree.remove`.

        Raises:
            Unsupported: a directory has more than `most` objects; a job removes it.
        """
        for path in targets:
            found = self.head(path)
            if found is not None:
                self.bucket.delete(found.key)
                on_removed(found.size)
            removed = recursive and self._remove_directory(path, most, on_removed)
            if found is not None or removed:  # else the parent may be absent, or a file
                self._mark(path.parent)

    def _remove_directory(
        self, path: VFolderPath, most: int | None, on_removed: Callable[[int], object]
    ) -> bool:
        """Remove a directory, and return whether it was there."""
        base = self._below(path)
        walk = self.bucket.walk(base)
        was_there = False
        while found := list(islice(walk, REMOVED_OBJECTS_MAX)):
            rest = next(walk, None)
            if rest is not None and most is not None:
                raise Unsupported(
                    f"{path} has more than {most:,} objects; the job delete-files removes it."
                )
            if rest is not None:
                found.append(rest)
            self._remove_found(base, found)
            on_removed(sum(one.size for one in found))
            was_there = True
        return was_there

    def _remove_found(self, base: str, found: list[StoredObject]) -> None:
        """Remove the objects of a directory, then all markers, the deepest first.

        A server that keeps objects in directories (SeaweedFS) lists empty ones without a marker
        for a while; the removal of the marker ends that.
        """
        keys = [one.key for one in found]
        _check_all_removed(self.bucket.delete_many(keys))
        markers = {base}
        for key in keys:
            parts = key[len(base) :].split("/")[:-1]
            markers |= {base + "/".join(parts[: n + 1]) + "/" for n in range(len(parts))}
        for depth, _ in groupby(sorted(markers, key=_depth, reverse=True), _depth):
            level = [marker for marker in markers if _depth(marker) == depth]
            _check_all_removed(self.bucket.delete_many(level))

    # -- Transfers ---------------------------------------------------------------------------------
    def below(self, path: VFolderPath) -> "VFolderObjects":
        """See `ObjectTree.below`."""
        return VFolderObjects(self.bucket, self._below(path), self._presigning)

    def entries(self) -> Iterator[ObjectEntry]:
        """See `ObjectTree.entries`."""
        for one in self.bucket.walk(self.prefix, ahead=True):
            name = one.key[len(self.prefix) :]
            if not name:  # the marker of the directory itself
                continue
            marker = name.endswith("/")
            path = _path_of(name.removesuffix("/"))
            yield ObjectEntry(name, path, one.size, one.etag, one.modified, marker)

    def send(
        self,
        path: VFolderPath,
        descriptor: int,
        size: int,
        metadata: Mapping[str, str],
        *,
        on_part: Callable[[int], object] = int,
        continued: ContinuedUpload | None = None,
    ) -> None:
        """See `ObjectTree.send`."""
        self.bucket.upload_file(
            self._key(path),
            descriptor,
            size,
            metadata=metadata,
            on_part=on_part,
            continued=continued,
        )

    def abandon(self, path: VFolderPath, upload_id: str) -> None:
        """See `ObjectTree.abandon`."""
        self.multipart(path, upload_id).abort()

    def send_link(self, path: VFolderPath, target: str, metadata: Mapping[str, str]) -> None:
        """See `ObjectTree.send_link`."""
        self.bucket.put(self._key(path), os.fsencode(target), metadata=metadata)

    def take(
        self, source: "VFolderObjects", entry: ObjectEntry, place: VFolderPath | None = None
    ) -> None:
        """See `ObjectTree.take`."""
        key = self.prefix + entry.name if place is None else self._key(place)
        origin = source.prefix + entry.name
        if source.bucket.endpoint == self.bucket.endpoint:
            stored = StoredObject(origin, entry.size, entry.etag, entry.modified)
            self.bucket.copy(stored, key, bucket=source.bucket.name)
            return
        with source.bucket.read(origin, etag=entry.etag) as reader:
            self.bucket.upload(
                key,
                reader,
                reader.size,
                content_type=reader.content_type,
                metadata=reader.metadata,
            )

    def drop(self, names: Sequence[str]) -> Iterator[str]:
        """See `ObjectTree.drop`."""
        for one in self.bucket.delete_many(self.prefix + name for name in names):
            yield one.key[len(self.prefix) :]

    def marker_metadata(self, path: VFolderPath) -> Mapping[str, str]:
        """See `ObjectTree.marker_metadata`."""
        try:
            return directory_metadata(self.bucket.head(self._below(path)))
        except ObjectNotFound:
            raise EntryNotFound(f"The directory {path} has no marker.") from None

    def mark(self, path: VFolderPath, metadata: Mapping[str, str]) -> None:
        """See `ObjectTree.mark`."""
        content_type = directory_type(metadata)
        self.bucket.put(self._below(path), b"", content_type=content_type, metadata=metadata)

    # -- All ---------------------------------------------------------------------------------------
    def copy_all(self, target: "VFolderObjects") -> Generator[int, None, None]:
        """See `ObjectTree.copy_all`."""
        pairs = (
            (one, target.prefix + one.key[len(self.prefix) :])
            for one in self.bucket.walk(self.prefix)
        )
        return self.bucket.copy_each(pairs)

    def differences(self, target: "VFolderObjects", *, by_content: bool) -> Iterator[str]:
        """See `ObjectTree.differences`."""
        pairs = zip_longest(self.bucket.walk(self.prefix), self.bucket.walk(target.prefix))
        for mine, other in pairs:
            if mine is None or other is None:
                yield "the number of objects"
                return
            name = mine.key[len(self.prefix) :]
            if name != other.key[len(target.prefix) :]:
                yield name
                return
            if mine.size != other.size or (by_content and not self._is_same(mine, other)):
                yield name

    def _is_same(self, mine: StoredObject, other: StoredObject) -> bool:
        """Compare two objects by their ETags; where these differ, by their bytes.

        ETags of equal bytes differ when the parts or the encryption did.
        """
        return mine.etag == other.etag or self._digest(mine) == self._digest(other)

    def _digest(self, one: StoredObject) -> bytes:
        digest = hashlib.sha256()
        with self.bucket.read(one.key, etag=one.etag) as reader:
            for block in reader:
                digest.update(block)
        return digest.digest()

    def remove_all(self, on_removed: Callable[[int], object] = int) -> Iterator[str]:
        """See `ObjectTree.remove_all`."""
        for one in self.bucket.delete_prefix(self.prefix, on_removed=on_removed):
            yield one.key[len(self.prefix) :]


def _file(one: StoredObject, base: str) -> dict[str, Any] | None:
    """Return the item of a file; None for the marker of the directory itself."""
    name = one.key[len(base) :]
    moment = one.modified or _UNKNOWN_MOMENT
    return _item(name, "FILE", _FILE_MODE, one.size, moment) if _is_name(name) else None


def _directory(prefix: str, base: str) -> dict[str, Any] | None:
    name = prefix[len(base) : -1]
    return _item(name, "DIRECTORY", _DIRECTORY_MODE, 0, _UNKNOWN_MOMENT) if _is_name(name) else None


def _is_name(name: str) -> bool:
    """Return whether a path can have the name; other keys are in no listing."""
    path = _path_of(name)
    return path is not None and len(path.parts) == 1


def _path_of(name: str) -> VFolderPath | None:
    """Return the path that a key means; None where no path has this text."""
    try:
        path = VFolderPath.parse(name)
    except StorageError:
        return None
    return path if "/".join(path.parts) == name and name else None


def _item(name: str, kind: str, mode: int, size: int, moment: datetime) -> dict[str, Any]:
    status = {"mode": mode, "size": size, "created": moment, "modified": moment}
    return {"name": name, "type": kind, "stat": status, "symlink_target": ""}


def _depth(key: str) -> int:
    return key.count("/")


def _number(etag: str) -> int:
    digest = hashlib.sha256(etag.encode()).digest()
    return int.from_bytes(digest[:_NUMBER_BYTES], "big") or 1


def _refused(path: VFolderPath, why: str, number: int) -> EntryRefused:
    return EntryRefused(f"{path} {why}.", errno=number, paths=[str(path)])


def _check_all_removed(left: Iterator[Any]) -> None:
    """Raise for objects that the storage did not remove."""
    found = list(left)
    if found:
        raise ObjectStorageFailed(
            f"The object storage did not remove {len(found)} objects ({found[0].code})."
        )
