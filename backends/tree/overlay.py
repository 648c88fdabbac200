"""Lay a finished copy over a live tree: by renames, and then directories get their attributes.

Every file is replaced by one rename(2), so a reader finds the old one or the new one. What has no
place there any more is renamed away too, into a directory that the caller removes afterwards.
Stopped at any instruction it is taken up again: what was moved is gone from the staged tree.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from backends.tree.backlog import Backlog, Sorter
from backends.tree.channel import Message
from backends.tree.crew import Crew
from backends.tree.finishing import giving, seals
from backends.tree.ledger import Ledger
from backends.tree.manifest import TreeManifest
from backends.tree.overlay_helper import LayWork, OverlayOptions, Trees
from backends.tree.selection import SkipReason
from core.jobs import Control, Counter

#: Most directories handed to a helper at a time.
BATCH_DIRECTORIES = 16
#: Most entries that only the target has, handed to a helper at a time.
BATCH_EXTRAS = 256


@dataclass(slots=True)
class Overlay:
    """What was done: entries moved in (a new directory is one), entries taken away, failures."""

    moved: int = 0
    dropped: int = 0
    failed: int = 0


def lay_over(
    trees: Trees, *, control: Control, manifest: TreeManifest, options: OverlayOptions
) -> Overlay:
    """Bring the staged tree of a copy with this manifest over the live one, and to disk.

    Entries that resist are told as faults and counted. Costs one rename per entry below
    directories that both trees have, and one for each directory that is new.

    Raises:
        Interrupted: the control says stop; the same call goes on.
        NoSpace, QuotaExceeded, BackendFailed: the live tree takes nothing any more.
    """
    links = Sorter()
    try:
        return _Laying(trees, control, Ledger(manifest, links), options).run()
    finally:
        links.close()


class _Laying:
    """The parent's side."""

    def __init__(
        self, trees: Trees, control: Control, ledger: Ledger, options: OverlayOptions
    ) -> None:
        self._trees = trees
        self._control = control
        self._ledger = ledger
        self._options = options
        self._pending = Backlog()
        self._done = Overlay()

    def run(self) -> Overlay:
        self._pending.push("")
        trees, effort = self._trees, self._options.effort
        try:
            with Crew(
                LayWork(trees, self._options),
                self._control,
                effort=effort,
                size=effort.count(),
                keep_fds=[trees.source, trees.staged, trees.live, trees.displaced],
            ) as crew:
                crew.run(self._next, self._settle)
                if self._options.drop_extra:
                    crew.run(giving(self._extras()), self._settle)
                if self._options.seal:
                    crew.run(giving(seals(self._ledger)), lambda _: None)
                crew.run(giving(iter([("sync",)])), lambda _: None)
        finally:
            self._pending.close()
        return self._done

    def _next(self) -> Message | None:
        batch: list[str] = []
        while len(batch) < BATCH_DIRECTORIES and (path := self._pending.pop()) is not None:
            batch.append(path)
        return ("lay", batch) if batch else None

    def _extras(self) -> Iterator[Message]:
        batch: list[str] = []
        for path, _ in self._ledger.notes(SkipReason.EXTRA):
            batch.append(path)
            if len(batch) == BATCH_EXTRAS:
                yield ("drop", batch)
                batch = []
        yield ("drop", batch)

    def _settle(self, reply: Message) -> None:
        moved, dropped, below, failed = reply
        for path in below:
            self._pending.push(path)
        self._done.moved += moved
        self._done.dropped += dropped
        self._done.failed += len(failed)
        self._control.count(Counter.COPIED, moved)
        self._control.count(Counter.DELETED, dropped)
        self._control.count(Counter.FAILED, len(failed))
        for path, reason in failed:
            self._control.fault(path, reason)
