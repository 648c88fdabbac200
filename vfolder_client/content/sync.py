"""One-way synchronization of a directory: looks at both sides, a plan, then transfers and removals.

Nothing is removed after a look that was not complete, nor after a copy that failed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vfolder_client.content.downloads import FetchOptions, fetch_file
from vfolder_client.content.files import RemoteReader
from vfolder_client.content.plans import (
    FILE,
    Differs,
    Known,
    Plan,
    SyncAction,
    plan_of,
)
from vfolder_client.content.pool import Stop, for_each
from vfolder_client.content.results import TransferMeter, TransferResult
from vfolder_client.content.sides import Door, Here, Side, SyncFolder
from vfolder_client.content.trees import LARGE_BYTES, Outcome
from vfolder_client.content.uploads import SendOptions, send_file
from vfolder_client.errors import ClientError

#: Two moments that differ by less are the same: the door and file systems round them (seconds).
_MOMENT_SECONDS = 2e-6
#: Bytes of each side that are compared at once.
_COMPARED_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncOptions:
    """How a directory is synchronized; see `VFolder.sync_up`."""

    delete: bool = False
    checksum: bool = False
    dry_run: bool = False
    resume: bool = True
    parallel: int = 4


@dataclass(slots=True)
class SyncResult(TransferResult):
    """What a synchronization did, or with `dry_run` what it would do."""

    actions: list[SyncAction] = field(default_factory=list)
    #: Entries that were removed, each with all below it.
    deleted: int = 0
    #: Why nothing was removed, where something should have been.
    delete_refused: str | None = None


def sync_up(
    folder: SyncFolder, source: Path, path: str, options: SyncOptions, meter: TransferMeter
) -> SyncResult:
    """Make a directory of a vfolder like a local one; see `VFolder.sync_up`."""
    here, door = Here(source), Door(folder, path)

    def send(one: SyncAction, stop: Stop, _: int) -> TransferResult:
        chosen = SendOptions(resume=options.resume, overwrite=True, stop=stop)
        to = door.path(one.path)
        return send_file(folder, here.path(one.path), to, options=chosen, meter=meter)

    sync = _Sync((here, door), options, meter)
    sync.plan(_written_later, _Comparison(folder, here, door))
    return sync.result if options.dry_run else sync.take(send)


def sync_down(
    folder: SyncFolder, path: str, target: Path, options: SyncOptions, meter: TransferMeter
) -> SyncResult:
    """Make a local directory like one of a vfolder; see `VFolder.sync_down`."""
    here, door = Here(target), Door(folder, path)
    sync = _Sync((door, here), options, meter)

    def fetch(one: SyncAction, stop: Stop, threads: int) -> TransferResult:
        entry = sync.found[one.path].entry or folder.stat(door.path(one.path))
        resume = options.resume and one.reason != "content"  # its time says that it is the same
        chosen = FetchOptions(threads, resume=resume, overwrite=True, stop=stop)
        return fetch_file(folder, entry, here.path(one.path), options=chosen, meter=meter)

    sync.plan(_same_time, _Comparison(folder, here, door))
    return sync.result if options.dry_run else sync.take(fetch)


#: Copies one file with so many requests side by side.
Copy = Callable[[SyncAction, Stop, int], TransferResult]


class _Sync:
    """One synchronization."""

    def __init__(
        self, sides: tuple[Side, Side], options: SyncOptions, meter: TransferMeter
    ) -> None:
        source, self._target = sides
        self._options = options
        self._meter = meter
        self._plan = Plan()
        looks = (source.look(needed=True), self._target.look(needed=False))
        #: What the source has, and what the target has.
        self.found, self._there = (look.known for look in looks)
        self.result = SyncResult(
            left_out=looks[0].left_out, failed=[one for look in looks for one in look.failed]
        )

    def plan(self, by_time: Differs, comparison: "_Comparison") -> None:
        """Compare both sides."""
        result, options = self.result, self._options
        if options.checksum:
            comparison.run(self.found, self._there, options.parallel)
            result.failed += comparison.failed
        differs = comparison.differs if options.checksum else by_time
        complete = not result.failed
        if options.delete and not complete:
            result.delete_refused = "a look was not complete"
        plan = plan_of(self.found, self._there, differs, delete=options.delete and complete)
        result.failed += [(path, FileExistsError(why)) for path, why in plan.refused]
        result.unchanged, result.actions, self._plan = plan.unchanged, plan.actions, plan

    def take(self, copy: Copy) -> SyncResult:
        """Take the steps."""
        plan, result = self._plan, self.result
        outcome, made = Outcome(), TransferResult()
        self._meter.expect(len(plan.copies), sum(one.size_bytes or 0 for one in plan.copies))
        self._remove(plan.replaced)
        self._target.make([one.path for one in plan.directories], made)

        def one_copy(action: SyncAction, stop: Stop, threads: int = 1) -> None:
            try:
                outcome.add(copy(action, stop, threads))
            except (ClientError, OSError) as error:
                stop.check()
                outcome.fail(action.path, error, self._meter)

        for_each(
            (one for one in plan.copies if not _is_large(one)), one_copy, self._options.parallel
        )
        for one in filter(_is_large, plan.copies):
            one_copy(one, Stop(), self._options.parallel)
        result.add(made)
        result.add(outcome.result)
        if plan.extra and result.failed:
            result.delete_refused = "something failed before"
        else:
            self._remove(plan.extra)
        return result

    def _remove(self, steps: Sequence[SyncAction]) -> None:
        if steps:
            self._target.remove([one.path for one in steps])
            self.result.deleted += len(steps)


def _is_large(action: SyncAction) -> bool:
    return (action.size_bytes or 0) >= LARGE_BYTES


# -- What is the same ------------------------------------------------------------------------------
def _same_time(_: str, here: Known, there: Known) -> str | None:
    """Down: a downloaded file has the time of its entry."""
    if here.size_bytes != there.size_bytes:
        return "size"
    if here.modified is None or there.modified is None:
        return "time"
    return None if abs(here.modified - there.modified) < _MOMENT_SECONDS else "time"


def _written_later(_: str, here: Known, there: Known) -> str | None:
    """Up: an uploaded file has the time of its upload, which is later than the local one."""
    if here.size_bytes != there.size_bytes:
        return "size"
    if here.modified is None or there.modified is None:
        return "time"
    return None if there.modified > here.modified else "time"


class _Comparison:
    """The bytes of files that are on both sides with the same size; both are read in full."""

    def __init__(self, folder: SyncFolder, here: Here, door: Door) -> None:
        self._folder = folder
        self._here = here
        self._door = door
        self._unequal: set[str] = set()
        self.failed: list[tuple[str, Exception]] = []

    def run(self, source: Mapping[str, Known], target: Mapping[str, Known], parallel: int) -> None:
        """Compare them."""
        outcome, meter = Outcome(), TransferMeter("compare")

        def compare(path: str, stop: Stop) -> None:
            try:
                if not self._is_equal(path, stop):
                    self._unequal.add(path)
            except (ClientError, OSError) as error:
                stop.check()
                outcome.fail(path, error, meter)

        for_each(_of_one_size(source, target), compare, parallel)
        self.failed = outcome.result.failed

    def _is_equal(self, path: str, stop: Stop) -> bool:
        url, at = self._folder.content_url(self._door.path(path)), 0
        with (
            self._here.path(path).open("rb") as file,
            RemoteReader(self._folder.connection, url) as reader,
        ):
            while True:
                stop.check()
                ours, theirs = file.read(_COMPARED_BYTES), reader.range(at, at + _COMPARED_BYTES)
                if ours != theirs or not ours:
                    return ours == theirs
                at += len(ours)

    def differs(self, path: str, here: Known, there: Known) -> str | None:
        """Say whether size or bytes differ."""
        if here.size_bytes != there.size_bytes:
            return "size"
        return "content" if path in self._unequal else None


def _of_one_size(source: Mapping[str, Known], target: Mapping[str, Known]) -> Iterator[str]:
    for path, known in source.items():
        there = target.get(path)
        both = there is not None and (known.kind, there.kind) == (FILE, FILE)
        if both and there is not None and there.size_bytes == known.size_bytes:
            yield path
