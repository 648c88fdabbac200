"""Transfers to a directory of objects that exists: each entry by itself, as `on_conflict` says.

A bucket has no staging and no rename of many objects. So entries appear one by one, an object is
replaced at once, and a job that is cancelled leaves what it has written.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from backends.entries import ObjectFacts, ObjectTree
from backends.fs import is_same_time
from backends.volumes import operations
from core.errors import (
    Conflict,
    CopyDiffers,
    EntryExists,
    EntryNotFound,
    EntryRefused,
    StorageError,
)
from core.jobs import Counter, State
from core.names import VFolderPath
from workers.run import Manifest, Outcome
from workers.verbs.object_extras import ExtraObjects
from workers.verbs.object_fetch import beside
from workers.verbs.object_send import TransferToObjects
from workers.verbs.object_sources import (
    OpenUploads,
    SendingSource,
    SourceEntry,
    digest_of_object,
    time_of,
)


class _NotSent(Conflict):
    """The entry at the target stays; `counted_as` is `kept` or `same`."""


class _OverSource:
    """A source of which only that is sent which the request lays over the target."""

    def __init__(
        self, source: SendingSource, on_conflict: str, *, checks: bool, mirrors: bool
    ) -> None:
        self._source = source
        self._on_conflict = on_conflict
        self._checks = checks
        #: Whether an entry replaces one of another kind.
        self._makes_way = mirrors and on_conflict == "replace"
        #: Which entry counts a file that made way, by the paths of the files.
        self._made_way: dict[str, str] = {}
        #: The bytes of the objects that were replaced, by the names of entries.
        self.replaced: dict[str, int] = {}
        #: The bytes of what made way, by the names of entries: gone, also where no entry came.
        self.freed: dict[str, int] = {}

    def entries(self) -> Iterator[SourceEntry]:
        """See `SendingSource.entries`."""
        yield from self._source.entries()

    def top(self) -> Mapping[str, str]:
        """See `SendingSource.top`."""
        return self._source.top()

    def metadata(self, one: SourceEntry) -> Mapping[str, str]:
        """See `SendingSource.metadata`."""
        return self._source.metadata(one)

    def time_ns(self, one: SourceEntry) -> int:
        """See `SendingSource.time_ns`."""
        return self._source.time_ns(one)

    def digest(self, one: SourceEntry) -> bytes:
        """See `SendingSource.digest`."""
        return self._source.digest(one)

    def kind(self, path: VFolderPath) -> str | None:
        """See `SendingSource.kind`."""
        return self._source.kind(path)

    def send(self, one: SourceEntry, target: ObjectTree) -> None:
        """See `SendingSource.send`.

        Raises:
            _NotSent: the entry at the target stays.
            EntryExists, EntryRefused: it is of another kind.
            CopyDiffers: the object has other bytes than its source.
        """
        path = VFolderPath.parse(one.name)
        try:
            self._send(one, path, target)
        except (EntryExists, EntryRefused):
            if not self._makes_way:
                raise
            freed = self._make_way(one, path, target)
            self.freed[one.name] = self.freed.get(one.name, 0) + freed
            self._send(one, path, target)

    def _send(self, one: SourceEntry, path: VFolderPath, target: ObjectTree) -> None:
        if one.kind == "d" and self._has_directory(path, target):
            if self._on_conflict != "skip":  # it gets the attributes of its original
                self._source.send(one, target)
            raise _NotSent("The directory is there.", counted_as="same")
        if one.kind != "d":
            there = self._replaced(one, path, target)
            if there is not None:
                self.replaced[one.name] = there.size
        self._source.send(one, target)
        differs = self._checks and one.kind == "f"
        if differs and self._source.digest(one) != digest_of_object(target, path):
            raise CopyDiffers("The object differs from its source.")

    def _make_way(self, one: SourceEntry, path: VFolderPath, target: ObjectTree) -> int:
        """Remove files where a directory comes, or the directory where a file comes.

        Returns the bytes that they had. Entries below one file come beside each other: the first
        one counts its bytes.
        """
        lengths = len(path.parts) + (one.kind == "d")
        above = [VFolderPath(path.parts[:length]) for length in range(1, lengths)]
        files = [(each, there) for each in above if (there := target.head(each)) is not None]
        own = [self._made_way.setdefault(str(each), one.name) == one.name for each, _ in files]
        freed = [there.size for (_, there), is_own in zip(files, own, strict=True) if is_own]
        list(target.drop([str(each) for each, _ in files]))
        if one.kind != "d" and not files:
            target.remove([path], recursive=True, most=None, on_removed=freed.append)
        return sum(freed)

    def gain_bytes(self, one: SourceEntry, target: ObjectTree) -> int:
        """Return what the target gains by an entry; below 0 where it replaces a longer one."""
        if one.kind == "d":
            return 0
        try:
            there = self._replaced(one, VFolderPath.parse(one.name), target)
        except (EntryExists, EntryRefused):
            return one.size if self._makes_way else 0
        except StorageError:  # it is not sent
            return 0
        return one.size - (there.size if there is not None else 0)

    @staticmethod
    def _has_directory(path: VFolderPath, target: ObjectTree) -> bool:
        try:
            if not target.is_directory(path):
                raise EntryExists(f"{path} is a file; no directory replaces it.")
        except EntryNotFound:
            try:
                target.check_free(path)  # a file may be above it
            except EntryExists:
                if not target.is_directory(path):  # it is, once a file below it was sent meanwhile
                    raise
            return False
        return True

    def _replaced(
        self, one: SourceEntry, path: VFolderPath, target: ObjectTree
    ) -> ObjectFacts | None:
        """Return the object that an entry replaces; None where its path is free."""
        there = target.head(path)
        if there is None:
            target.check_free(path)
            return None
        if self._on_conflict == "skip":
            raise _NotSent("The file at the target stays, as requested.", counted_as="kept")
        own, other = self._source.time_ns(one), time_of(there)
        if one.size == there.size and is_same_time(own, other, 1):
            raise _NotSent("The file is the same.", counted_as="same")
        if self._on_conflict == "newer" and own <= other:
            raise _NotSent("The file at the target is newer.", counted_as="kept")
        return there


class OverlayToObjects(TransferToObjects):
    """One run of a transfer that may meet a directory of objects; a new target is as ever."""

    _left = "What was copied before stays."
    _is_over = False
    _over: _OverSource | None = None
    _extras: ExtraObjects | None = None
    _counts: dict[str, int] | None = None

    def _done_with(self, manifest: Manifest) -> Outcome:
        self._is_over = manifest.last("over") is not None
        first = not (self._is_over or manifest.last("begun") or manifest.last("copied"))
        if first and self._is_there():
            manifest.mark("over")
            self._is_over = True
        elif first and self._path.is_root:
            manifest.mark("begun")  # a vfolder that another one makes meanwhile is none to lay over
        outcome = super()._done_with(manifest)
        return self._with_what_stays(outcome) if self._is_over else outcome

    def _is_there(self) -> bool:
        """Return whether the target is a directory."""
        if not operations.exists(self._backend, self._vfolder):
            return False
        try:
            return self._objects.tree(self._vfolder).is_directory(self._path)
        except EntryNotFound:
            return False

    @staticmethod
    def _with_what_stays(outcome: Outcome) -> Outcome:
        result: dict[str, Any] = outcome.result or {}
        kept, same = result.get("kept", 0), result.get("same", 0)
        words = [f"{same:,} were the same"] if same else []
        words += [f"{kept:,} stay as they are"] if kept else []
        removed = result.get("extra_removed", 0)
        words += [f"{removed:,} extra were removed"] if removed else []
        sentence = "; ".join([outcome.sentence, *words])
        nothing = kept and not outcome.items and not removed
        state = State.PARTIAL if nothing else outcome.state
        return Outcome(sentence, result, state, items=outcome.items, size_bytes=outcome.size_bytes)

    def _settle_directories(self, source: SendingSource, target: ObjectTree) -> bool:
        """With `skip`, directories that were there keep their attributes: none is looked at."""
        if self._is_over and self._request.on_conflict == "skip":
            return True
        return super()._settle_directories(source, target)

    def _mark_top(self, source: SendingSource, target: ObjectTree) -> None:
        """Give a directory that was there the attributes of its original, where these are known."""
        if not self._is_over or (self._request.on_conflict != "skip" and source.top()):
            super()._mark_top(source, target)

    def _target(self, manifest: Manifest) -> ObjectTree:
        if not self._is_over:
            return super()._target(manifest)
        return self._objects.tree(self._vfolder).below(self._path)

    @contextmanager
    def _source(self, uploads: OpenUploads) -> Iterator[SendingSource]:
        with super()._source(uploads) as source:
            if not self._is_over:
                yield source
                return
            checks = self._request.verify == "checksum"
            mirrors = self._request.delete_extra
            conflict = self._request.on_conflict
            self._over = _OverSource(source, conflict, checks=checks, mirrors=mirrors)
            yield self._over

    def _size_of(self, source: SendingSource) -> int:
        over, target = self._over, self._tree
        if over is None or target is None:
            return super()._size_of(source)
        self._run.phase("count")
        size_bytes = 0

        def gain(one: SourceEntry) -> int:
            return over.gain_bytes(one, target)

        with closing(beside(gain, source.entries())) as gains:
            for gained in gains:
                self._run.check()
                size_bytes += gained
        return max(0, size_bytes)

    def _count(
        self, one: SourceEntry, error: OSError | StorageError | None, counts: dict[str, int]
    ) -> None:
        if self._over is None:
            super()._count(one, error, counts)
            return
        self._counts = counts
        replaced = self._over.replaced.pop(one.name, 0)
        gone = self._over.freed.pop(one.name, 0)
        if error is None or isinstance(error, _NotSent):
            gone += replaced
        counts["replaced_bytes"] = counts.get("replaced_bytes", 0) + gone
        if isinstance(error, _NotSent):
            kind = error.facts["counted_as"]
            counts[kind] = counts.get(kind, 0) + 1
            self._run.count(Counter.SKIPPED, 1)
            if kind == "kept":
                self._run.fault(one.name, error.detail)
            return
        super()._count(one, error, counts)

    def _send_all(
        self, source: SendingSource, target: ObjectTree, manifest: Manifest
    ) -> dict[str, Any]:
        if self._over is not None and self._request.delete_extra:
            self._extras = ExtraObjects(self._run, manifest, source, target, self._selection())
            self._extras.note()
        return super()._send_all(source, target, manifest)

    def _without_extra(
        self,
        source: SendingSource,  # noqa: ARG002 - those of the objects that are noted
        target: ObjectTree,  # noqa: ARG002 - as above
        manifest: Manifest,  # noqa: ARG002 - as above
        done: dict[str, Any],
    ) -> dict[str, Any]:
        """Remove what only the target has; nothing, where a part of the source is not known."""
        extras = self._extras
        if extras is None:
            return {}
        sure = done["complete"] and extras.noted["sure"]
        if sure:
            self._run.phase("delete")
            extras.remove()
        removed, removed_bytes = extras.removed
        refused = not sure and bool(extras.noted["number"])
        return {
            "extra": extras.noted["number"],
            "extra_removed": removed,
            "removed_bytes": removed_bytes,
            "delete_extra_refused": refused,
            "failed": done["failed"] + extras.failed,
            "complete": sure and not extras.failed,
        }

    def _verify(self, source: SendingSource, target: ObjectTree) -> None:
        if self._over is None:  # else each file was compared when it was sent
            super()._verify(source, target)

    def _publish(self) -> None:
        if self._is_over:
            self._run.point_of_no_return()
            self._run.check()
            return
        super()._publish()

    def _undo_sent(self) -> None:
        if not self._is_over:
            super()._undo_sent()

    def _undone_bytes(self) -> int:
        counts = self._counts or {}
        removed = self._extras.removed[1] if self._extras is not None else 0
        return counts.get("copied_bytes", 0) - counts.get("replaced_bytes", 0) - removed
