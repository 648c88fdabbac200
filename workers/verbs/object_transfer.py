"""Transfers and clones from objects to files.

The selected objects are fetched into the staging beside the target. Then they are a tree of files,
and the steps are those of every transfer; a new directory is published as it was fetched.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from backends.entries import ObjectEntry, ObjectTree
from backends.tree import Selection, remove_tree, status_from_wire
from core.errors import EntryNotFound, VFolderExists
from core.jobs.requests import CloneRequest, TransferRequest
from core.names import VFolderId, VFolderPath
from workers.run import Context, Manifest
from workers.verbs.object_attributes import ObjectAttributes, attributes_of, modified_ns
from workers.verbs.object_fetch import FetchPlaces, ObjectFetch
from workers.verbs.objects import objects_of
from workers.verbs.transfer import COUNTED, FETCHED_TREE, Transfer, clone_as_transfer
from workers.verbs.transfer.publish import FILE, NEW, OVER, Publisher

#: The directory of the staging with files that are not complete yet.
_DRAFTS = "drafts"
#: Objects that the count leaves in memory for the copy, about 0.5 KiB each; more are listed again.
KEPT_MAX = 10_000
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def as_transfer(request: CloneRequest | TransferRequest) -> TransferRequest:
    """Return the transfer that a request is, with its verification."""
    if isinstance(request, TransferRequest):
        return request
    return msgspec.structs.replace(clone_as_transfer(request), verify=request.verify)


@dataclass(frozen=True, slots=True)
class _Facts:
    """The attributes of an object that rules and bounds of a selection look at."""

    st_mode: int
    st_size: int
    st_mtime_ns: int


class ChosenObjects:
    """Which objects of a tree a request selects: an excluded directory excludes all below it."""

    def __init__(self, selection: Selection | None) -> None:
        self._selection = selection
        self._known: dict[tuple[str, ...], bool] = {(): True}

    def __call__(self, one: ObjectEntry) -> bool:
        """Return whether an object is selected."""
        if self._selection is None or one.path is None:
            return True
        parts = one.path.parts
        if not self._enters(parts[:-1]):
            return False
        mtime_ns = modified_ns(one.modified) or 0  # what a listing says: the time of its writing
        return self._enters(parts) if one.marker else self.file(one.path, one.size, mtime_ns)

    def file(self, path: VFolderPath, size: int, mtime_ns: int) -> bool:
        """Return whether a file is selected whose directory is."""
        return self._includes(path.parts, _Facts(stat.S_IFREG | 0o644, size, mtime_ns))

    def _enters(self, parts: tuple[str, ...]) -> bool:
        known = self._known.get(parts)
        if known is None:
            facts = _Facts(stat.S_IFDIR | 0o755, 0, 0)
            known = self._enters(parts[:-1]) and self._includes(parts, facts)
            self._known[parts] = known
        return known

    def _includes(self, parts: tuple[str, ...], facts: Any) -> bool:  # noqa: ANN401 - as a stat
        return self._selection is None or self._selection.includes("/".join(parts), facts)


def counted(
    objects: Iterator[ObjectEntry], check: Callable[[], object], most: int = KEPT_MAX
) -> tuple[int, int, list[ObjectEntry] | None]:
    """Return the number of objects and their bytes; the objects too, where they are at most `most`.

    `check` is called for each one; what it raises ends the count.
    """
    number = size_bytes = 0
    kept: list[ObjectEntry] = []
    for one in objects:
        check()
        number, size_bytes = number + 1, size_bytes + one.size
        if number <= most:
            kept.append(one)
        else:
            kept.clear()
    return number, size_bytes, kept if number <= most else None


@dataclass(frozen=True, slots=True)
class FetchedEndpoint:
    """The source of a transfer that is fetched first: `opens` opens the fetched directory."""

    tree: ObjectTree
    vfolder: VFolderId
    path: VFolderPath
    opens: Callable[[], AbstractContextManager[int]]

    def __str__(self) -> str:
        return str(self.vfolder) if self.path.is_root else f"{self.vfolder}/{self.path}"

    @property
    def parent(self) -> "FetchedEndpoint":
        """The directory that holds this entry."""
        return FetchedEndpoint(self.tree, self.vfolder, self.path.parent, self.opens)

    def opened(self) -> AbstractContextManager[int]:
        """Open the directory with what was fetched."""
        return self.opens()

    def status(self) -> os.stat_result | None:
        """Return the attributes of the entry, as `Endpoint.status`."""
        found = self.tree.head(self.path)
        if found is not None:
            mtime = modified_ns(found.modified) or 0
            return status_from_wire(
                [stat.S_IFREG | 0o644, 0, 0, 1, 0, 0, found.size, mtime, mtime, mtime, 0]
            )
        try:
            self.tree.is_directory(self.path)
        except EntryNotFound:
            return None
        return status_from_wire([stat.S_IFDIR | 0o755, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])


class TransferFromObjects(Transfer):
    """One run of a transfer or clone whose source are objects and whose target are files."""

    shareable = False

    def __init__(self, context: Context, request: CloneRequest | TransferRequest) -> None:
        transfer = as_transfer(request)
        super().__init__(context, transfer)
        self._is_clone = isinstance(request, CloneRequest)
        vfolder, path = VFolderId.parse(transfer.source), VFolderPath.parse(transfer.source_path)
        self._tree = objects_of(context, transfer.volume).tree(vfolder)
        self._source: Any = FetchedEndpoint(self._tree, vfolder, path, self._fetched_directory)
        self._bulk = None

    def _fetched_directory(self) -> AbstractContextManager[int]:
        return self._context.hidden_directory(self._root, self._staging / FETCHED_TREE)

    def _began(self, manifest: Manifest) -> int | None:  # noqa: ARG002 - as the parent's
        """Return None: objects are read by their ETags, and a change of one is a fault."""
        return None

    def _choose_mode(self, manifest: Manifest) -> str:
        mode = super()._choose_mode(manifest)
        if self._is_clone and mode != NEW:
            raise VFolderExists(f"The vfolder {self._target} is already there.")
        return mode

    def _copy_and_publish(self, mode: str, publisher: Publisher, manifest: Manifest) -> None:
        if manifest.last("fetched") is None:
            manifest.mark("fetched", **self._fetch_all(mode, manifest))
        self._fetched = manifest.last("fetched")
        super()._copy_and_publish(mode, publisher, manifest)

    def _copy_in_tree(self, mode: str, publisher: Publisher, manifest: Manifest) -> None:
        """Publish a new directory as it was fetched; lay anything else over the target."""
        if mode != NEW:
            super()._copy_in_tree(mode, publisher, manifest)
            return
        if manifest.last("copied") is None:
            manifest.mark("copied", **(self._fetched or {}))
        with self._context.hidden_directory(self._root, self._staging) as staging:
            publisher.rename(FETCHED_TREE, staging, manifest)

    def _fetch_all(self, mode: str, manifest: Manifest) -> dict[str, Any]:
        """Fetch what the request selects, and return what was done."""
        self._forget_other_boots(manifest)
        self._run.phase("count")
        number, size_bytes, kept = counted(self._chosen(mode), self._run.check)
        self._run.expect(items=number, size_bytes=size_bytes)
        self._check_free_space(size_bytes, copied=True)
        self._run.phase("copy")
        made = self._context.hidden_directory
        with (
            self._fetched_directory() as into,
            made(self._root, self._staging / _DRAFTS) as drafts,
            self._target.opened() if mode == OVER else nullcontext() as like,
        ):
            os.fchmod(into, 0o755)
            checks = self._request.verify == "checksum"
            places = FetchPlaces(into, drafts, like)
            fetch = ObjectFetch(self._run, self._top_tree(mode), places, checks=checks)
            fetch(self._chosen(mode) if kept is None else kept, self._top_attributes(mode))
        complete = not fetch.failed
        nothing = dict.fromkeys(("changed", "changed_since", "not_in_copy", "hard_links"), 0)
        skipped = {str(reason): 0 for reason in COUNTED}
        return {
            **fetch.counts,
            **nothing,
            **skipped,
            "complete": complete,
            "sure": complete,
            "not_kept": {},
            "method": "objects",
        }

    def _forget_other_boots(self, manifest: Manifest) -> None:
        """Begin again after a crash of the machine: bytes of files may not be on disk."""
        with open(_BOOT_ID, encoding="ascii") as file:
            boot = file.read().strip()
        mark = manifest.last("boot")
        if mark is None or mark["id"] != boot:
            with self._context.hidden_directory(self._root, self._staging) as staging:
                for name in (FETCHED_TREE, _DRAFTS):
                    with suppress(FileNotFoundError):
                        remove_tree(staging, name, control=self._run)
            manifest.mark("boot", id=boot)

    def _top_tree(self, mode: str) -> ObjectTree:
        path = self._source.path
        return self._tree.below(path.parent if mode == FILE else path)

    def _top_attributes(self, mode: str) -> ObjectAttributes:
        """Return what the marker of the directory says, which it may not have."""
        if mode != FILE:
            with suppress(EntryNotFound):
                return attributes_of(self._top_tree(mode).marker_metadata(VFolderPath(())))
        return ObjectAttributes()

    def _chosen(self, mode: str) -> Iterator[ObjectEntry]:
        """Yield what the request selects; what it excludes is no extra entry, so it comes too."""
        if mode == FILE:
            name, found = self._source.path.name, self._tree.head(self._source.path)
            if found is None:
                raise EntryNotFound(f"{self._source.path} does not exist.")
            path = VFolderPath((name,))
            yield ObjectEntry(name, path, found.size, found.etag, found.modified)
            return
        takes_all = mode != NEW and self._request.delete_extra
        chosen = ChosenObjects(None if takes_all else self._selection(NEW, None))
        yield from filter(chosen, self._top_tree(mode).entries())
