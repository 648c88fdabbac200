"""A preview of a transfer: a short look at both sides that changes and guarantees nothing."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from backends.base import Backend, MountedBackend
from backends.transfer.endpoints import Endpoint, is_directory
from backends.transfer.selection import selection_of
from backends.tree import EntrySelector, Selection
from core.errors import StorageError, VFolderNotFound
from core.jobs.requests import TransferRequest
from core.names import VFolderId, VFolderPath

#: A preview ends after so long, and says that it is not complete.
SECONDS_MAX = 1.5
#: Paths named for each kind of note.
EXAMPLES_MAX = 10


@dataclass(slots=True)
class TransferPreview:
    """Entries and bytes that would be copied; for each kind of note its number and examples."""

    complete: bool = False
    entries: int = 0
    size_bytes: int = 0
    noted: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, note: str, path: str) -> None:
        """Count a note."""
        self.noted[note] = self.noted.get(note, 0) + 1
        shown = self.examples.setdefault(note, [])
        if len(shown) < EXAMPLES_MAX:
            shown.append(path)


def preview(
    request: TransferRequest, source: Endpoint, target: Endpoint, requested_ms: int
) -> dict[str, Any] | None:
    """Preview a transfer as its plan will select; None for one file, which needs no preview.

    Costs a stat per entry, for at most `SECONDS_MAX`.

    Raises:
        StorageError: a side cannot be read.
    """
    if not is_directory(source.status()):
        return None
    with source.opened() as fd:
        if not _is_there(target):
            return asdict(_preview(fd, selection_of(request, requested_ms, None)))
        with target.opened() as live:
            return asdict(_preview(fd, selection_of(request, requested_ms, live)))


def preview_of(
    request: TransferRequest, source: Backend, target: Backend, requested_ms: int
) -> dict[str, Any] | None:
    """Preview a transfer between two backends; None where one of them is no mounted directory."""
    reads, writes = source.skill(MountedBackend), target.skill(MountedBackend)
    if reads is None or writes is None:
        return None
    sides = (
        Endpoint(reads, VFolderId.parse(request.source), VFolderPath.parse(request.source_path)),
        Endpoint(writes, VFolderId.parse(request.target), VFolderPath.parse(request.target_path)),
    )
    return preview(request, *sides, requested_ms)


def _is_there(target: Endpoint) -> bool:
    try:
        return is_directory(target.status())
    except VFolderNotFound:
        return False


def _preview(source: int, selection: Selection) -> TransferPreview:
    selector = EntrySelector.on_descriptors(source, selection)
    result, pending = TransferPreview(), [""]
    seen: set[tuple[int, ...]] = set()
    until = time.monotonic() + SECONDS_MAX
    while pending:
        if time.monotonic() > until:
            return result
        path = pending.pop()
        try:
            for selected, _ in selector.select(path):
                result.entries += len(selected.names)
                result.size_bytes += selected.size_bytes - _counted_before(selected.inodes, seen)
                pending += selected.below
                for note, where, _words in selected.notes:
                    result.add(note, where)
        except (OSError, StorageError):
            result.add("unread", path)
    result.complete = True
    return result


def _counted_before(inodes: list[tuple[int, ...]], seen: set[tuple[int, ...]]) -> int:
    """Return what files hold that were counted under another name."""
    counted = 0
    for *inode, held in inodes:
        counted += held if tuple(inode) in seen else 0
        seen.add(tuple(inode))
    return counted
