"""What only the target of a transfer to objects has: noted first, removed when all else is done.

Nothing goes that the source has by then, nor what came or was replaced at the target meanwhile. A
run that dies leaves its notes, and the next one goes on with them.
"""

from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import groupby, islice
from typing import Any

from backends.entries import ObjectEntry, ObjectTree
from backends.tree import Selection
from core.errors import EntryExists, EntryRefused, StorageError, Unavailable
from core.jobs import Counter
from core.names import VFolderPath
from workers.run import Manifest, Run
from workers.verbs.object_fetch import beside
from workers.verbs.object_sources import SendingSource, time_of
from workers.verbs.object_transfer import ChosenObjects

#: Entries that are compared once more and then removed by one call.
BATCH_ENTRIES = 512
#: The kind of an entry of which the source does not say whether it has it.
_UNSURE = "?"


class ExtraObjects:
    """The extra objects of one job, below the target directory."""

    def __init__(
        self,
        run: Run,
        manifest: Manifest,
        source: SendingSource,
        target: ObjectTree,
        selection: Selection,
    ) -> None:
        self._run = run
        self._manifest = manifest
        self._source = source
        self._target = target
        self._chosen = ChosenObjects(selection)
        #: Objects that this run could not remove.
        self.failed = 0

    def note(self) -> None:
        """Note every extra object, unless an earlier run has; call it before anything is sent."""
        if self._manifest.last("extras") is not None:
            return
        number, sure, attempt = 0, True, self._run.job.attempt
        with closing(beside(self._with_kind, self._present())) as found:
            for one, kind in found:
                self._run.check()
                sure = sure and kind != _UNSURE
                if kind is None:
                    facts = {"name": one.name, "etag": one.etag, "attempt": attempt}
                    self._manifest.note("extra", **facts)
                    number += 1
        self._manifest.mark("extras", number=number, sure=sure, attempt=attempt)

    @property
    def noted(self) -> dict[str, Any]:
        """The `number` of extra objects, and whether the source is `sure` of all."""
        found = self._manifest.last("extras")
        return {"number": 0, "sure": False} if found is None else found

    @property
    def removed(self) -> tuple[int, int]:
        """How many objects all runs removed, and their bytes."""
        marks = self._manifest.all("removed")
        return sum(one["number"] for one in marks), sum(one["size_bytes"] for one in marks)

    def remove(self) -> None:
        """Remove what is still extra, then the markers of directories that the source has not."""
        noted = self._noted()
        while batch := list(islice(noted, BATCH_ENTRIES)):
            self._run.check()
            with closing(beside(self._size_of_extra, batch)) as sizes:
                found = {one["name"]: size for one, size in zip(batch, sizes, strict=True)}
            self._drop({name: size for name, size in found.items() if size is not None})
        self._remove_directories()

    def _present(self) -> Iterator[ObjectEntry]:
        """Yield what the request selects; keys that no path can have are in no list, and stay."""
        return (one for one in self._target.entries() if one.path and self._chosen(one))

    def _noted(self) -> Iterator[dict[str, Any]]:
        attempt = self.noted["attempt"]
        return (one for one in self._manifest.each("extra") if one["attempt"] == attempt)

    def _with_kind(self, one: ObjectEntry) -> tuple[ObjectEntry, str | None]:
        try:
            return one, self._source.kind(one.path or VFolderPath(()))
        except Unavailable:
            raise
        except (OSError, StorageError):
            return one, _UNSURE

    def _size_of_extra(self, one: dict[str, Any]) -> int | None:
        """Return the bytes of a noted object; None where it is not to be removed, or a marker."""
        if one["name"].endswith("/"):
            return None
        path = VFolderPath.parse(one["name"])
        there = self._target.head(path)
        if there is None or there.etag != one["etag"]:
            return None
        chosen = self._chosen.file(path, there.size, time_of(there))
        return there.size if chosen and self._source.kind(path) is None else None

    def _drop(self, sizes: dict[str, int]) -> None:
        """Remove objects by one call, and note what is gone."""
        left = set(self._target.drop(list(sizes))) if sizes else set()
        self._failed(left)
        gone = [size for name, size in sizes.items() if name not in left]
        self._run.count(Counter.DELETED, len(gone))
        if gone:
            self._manifest.mark("removed", number=len(gone), size_bytes=sum(gone))

    def _failed(self, names: set[str]) -> None:
        self.failed += len(names)
        self._run.count(Counter.FAILED, len(names))
        for name in names:
            self._run.fault(name, "the object storage did not remove it")

    def _remove_directories(self) -> None:
        """Remove markers, the deepest first. A directory that the source has stays, though empty.

        Also those of directories that had none: SeaweedFS lists such ones for a while.
        """
        above: set[tuple[str, ...]] = set()
        for one in self._noted():
            parts = VFolderPath.parse(one["name"].removesuffix("/")).parts
            first = len(parts) if one["name"].endswith("/") else len(parts) - 1
            above.update(parts[:length] for length in range(first, 0, -1))
        for _, level in groupby(sorted(above, key=len, reverse=True), len):
            self._run.check()
            with closing(beside(self._is_extra, map(VFolderPath, level))) as found:
                names = [f"{path}/" for path, is_extra in found if is_extra]
            self._failed(set(self._target.drop(names)) if names else set())

    def _is_extra(self, path: VFolderPath) -> tuple[VFolderPath, bool]:
        """Return a directory with whether only the target has it; one that both have is kept."""
        kind = self._source.kind(path)
        if kind == "d":
            with suppress(EntryExists, EntryRefused):  # a file of this name stays, as requested
                self._target.make_directory(path, exist_ok=True)
        return path, kind is None
