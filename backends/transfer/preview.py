"""What a transfer would do, looked at for a moment: nothing is done, and nothing is promised."""

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

#: The look ends after so long, and says that it is not complete.
SECONDS_MAX = 1.5
#: Paths named per kind.
EXAMPLES_MAX = 10


@dataclass(slots=True)
class TransferPreview:
    """Entries and bytes that would be copied, and per kind of note how many and some of them."""

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


def foresee(
    request: TransferRequest, source: Endpoint, target: Endpoint, asked_ms: int
) -> dict[str, Any] | None:
    """Look over both sides as the transfer's plan will; None for one file, which needs no look.

    Costs a stat per entry, for `SECONDS_MAX` at most.

    Raises:
        StorageError: a side cannot be read.
    """
    if not is_directory(source.status()):
        return None
    with source.opened() as fd:
        if not _is_there(target):
            return asdict(_looked(fd, selection_of(request, asked_ms, None)))
        with target.opened() as live:
            return asdict(_looked(fd, selection_of(request, asked_ms, live)))


def foreseen(
    request: TransferRequest, source: Backend, target: Backend, asked_ms: int
) -> dict[str, Any] | None:
    """As `foresee`, on two backends; None where one of them has no mounted tree."""
    reads, writes = source.skill(MountedBackend), target.skill(MountedBackend)
    if reads is None or writes is None:
        return None
    sides = (
        Endpoint(reads, VFolderId.parse(request.source), VFolderPath.parse(request.source_path)),
        Endpoint(writes, VFolderId.parse(request.target), VFolderPath.parse(request.target_path)),
    )
    return foresee(request, *sides, asked_ms)


def _is_there(target: Endpoint) -> bool:
    try:
        return is_directory(target.status())
    except VFolderNotFound:
        return False


def _looked(source: int, selection: Selection) -> TransferPreview:
    chooser = EntrySelector.over(source, selection)
    seen, pending = TransferPreview(), [""]
    until = time.monotonic() + SECONDS_MAX
    while pending:
        if time.monotonic() > until:
            return seen
        path = pending.pop()
        try:
            for choice, _ in chooser.choose(path):
                seen.entries += len(choice.names)
                seen.size_bytes += choice.size_bytes
                pending += choice.below
                for note, where, _words in choice.notes:
                    seen.add(note, where)
        except (OSError, StorageError):
            seen.add("unread", path)
    seen.complete = True
    return seen
