"""A transfer that moves: what arrived is removed from the source afterwards.

It begins once the target is published, compared and on disk. An entry is renamed into the trash of
the source's scope and compared once more there, where no program finds it by its name. What changed
or came since the copy began stays in the source, or goes back. A run that dies leaves the entries
that it was to remove in the source, or in the trash with a note: the next run goes on.

This runs on a node that serves both volumes: only there a rename can follow a look at both sides.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

from backends.fs import descriptors, reason_of
from backends.quota import soft
from backends.transfer import (
    EXCLUDED,
    Arrivals,
    ArrivalTerms,
    Endpoint,
    Stays,
    TreeSide,
    selection_of,
)
from backends.tree import Selection, join, split_name, stat_entry, sync_file_system
from backends.volumes import entry_trash
from core.errors import EntryExists, NoCommonNode
from core.jobs import Counter, Released, State, checked_pause
from core.jobs.requests import TransferRequest
from core.names import VFolderPath, counted
from workers.run import Context, Manifest, Outcome
from workers.verbs.removed_entries import OTHER_FILE_SYSTEM, EntryTrash
from workers.verbs.transfer import Transfer
from workers.verbs.transfer.publish import FILE, OVER, Publisher

#: What is not kept is in the trash while the job works, and for so long if it never ends (seconds).
KEEP_MEANWHILE_SECONDS = 86_400.0
#: A run on a node without the source goes back to the queue this often, each time after a pause
#: that is long enough to learn of a cancel.
RETURNS_MAX = 100
RETURN_SECONDS = 2.0
_TAKEN = "it changed meanwhile, and another entry has its name: it is in the trash"
#: What a move that removes nothing adds to its result.
_NOTHING: dict[str, Any] = {"removed": 0, "left": 0, "trash": None}


class MovingTransfer(Transfer):
    """One run of a transfer with `remove_source`."""

    def __init__(self, context: Context, request: TransferRequest) -> None:
        super().__init__(context, request)
        self._began_ns = self._removed = 0
        self._is_there = False

    def __call__(self) -> Outcome:
        """Do the steps that are left.

        Raises:
            Interrupted: this node does not serve the source; another one may serve both volumes.
            NoCommonNode: none seems to.
        """
        if not isinstance(self._source, Endpoint):
            if self._run.job.attempt > RETURNS_MAX:
                raise NoCommonNode("No node that serves both volumes took the job.")
            checked_pause(self._run.check, RETURN_SECONDS)
            raise Released("for a node that serves both volumes")
        done = super().__call__()
        return replace(done, result=_NOTHING | {"left": done.result.get("kept", 0)} | done.result)

    def undo(self) -> None:
        """Remove the staging. What is in the trash stays there: the target has it, too."""
        super().undo()
        if isinstance(self._source, Endpoint):
            SourceRemoval(self._context, self._request).abandon()

    def _began(self, manifest: Manifest) -> int | None:
        """See `Transfer._began`; a strict move needs the moment, too."""
        self._began_ns = self._moment(manifest)
        return super()._began(manifest)

    def _keeps_file(self) -> bool:
        """See `Transfer._keeps_file`; what an earlier move brought is left to be removed."""
        try:
            kept = super()._keeps_file()
        except EntryExists:
            if not self._has_same_file():
                raise
            kept = True
        self._is_there = kept and self._has_same_file()
        return kept and not self._is_there

    def _has_same_file(self) -> bool:
        with self._looked(FILE) as (arrivals, _):
            return arrivals.first_left("", doubt=True) is None

    def _is_done(self, publisher: Publisher, manifest: Manifest) -> bool:
        if self._is_there:
            manifest.mark("copied", method="stream", same=1, complete=True, sure=True)
            manifest.mark("arrived")
        return manifest.last("arrived") is not None or super()._is_done(publisher, manifest)

    def _clear(self, manifest: Manifest) -> None:
        """Remove what arrived, then what the publication left of the staging."""
        if manifest.last("arrived") is None:
            manifest.mark("arrived")
        laid = manifest.last("laid") or {}
        facts = manifest.last("copied") or {}
        self._settle_quota(facts | {"removed_bytes": laid.get("removed_bytes", 0)})
        self._run.point_of_no_return()
        mode = str((manifest.last("mode") or {})["mode"])
        removal = SourceRemoval(self._context, self._request)
        if manifest.last("removed") is None:
            # What looked the same was not copied, so its content was not compared.
            read_all = mode == OVER and bool(facts.get("same"))
            with self._looked(mode, read_all=read_all) as (arrivals, source):
                left = removal.move(arrivals, source, manifest)
            manifest.mark("removed", left=left, **removal.settle())
        removal.purge(manifest)
        super()._clear(manifest)

    @contextmanager
    def _looked(self, mode: str, *, read_all: bool = False) -> Iterator[tuple[Arrivals, TreeSide]]:
        """Compare source and target; what the target has is on disk before."""
        with ExitStack() as held:
            ends = (self._source, self._target)
            source, target = (_side(one, held) for one in ends if isinstance(one, Endpoint))
            sync_file_system(target.anchor.fd)
            terms = ArrivalTerms(
                since_ns=self._began_ns,
                scratch=held.enter_context(
                    self._context.hidden_directory(self._root, self._staging)
                ),
                selection=None if mode == FILE else self._chosen(),
                read_all=read_all,
                on_bytes=self._step,
            )
            yield Arrivals(source, target, terms), source

    def _chosen(self) -> Selection | None:
        requested_ms = int(self._run.job.fields["created_at"])
        selection = selection_of(self._request, requested_ms, None)
        return selection if selection.restricts else None

    def _step(self, size_bytes: int) -> None:
        self._run.check()
        self._run.throttle.pace(0, size_bytes, bytearray(1))

    def _outcome(self, manifest: Manifest) -> Outcome:
        removed = manifest.last("removed") or _NOTHING
        self._removed = removed["removed"]
        done = super()._outcome(manifest)
        facts = {name: removed[name] for name in _NOTHING}
        amount = counted(facts["removed"], "entry", "entries") if facts["removed"] else "nothing"
        until = (
            f", kept in the trash until {facts['trash']['expires_at']}" if facts["trash"] else ""
        )
        stay = f"; {counted(facts['left'], 'entry', 'entries')} stay there" if facts["left"] else ""
        return replace(
            done,
            sentence=f"{done.sentence}; removed {amount} from the source{until}{stay}",
            result=done.result | facts,
            state=self._state(done, facts),
        )

    def _state(self, done: Outcome, facts: dict[str, Any]) -> State:
        """Return how the job ends: a move of an empty directory copies nothing, and succeeds."""
        if facts["left"]:
            return State.PARTIAL
        return State.SUCCEEDED if facts["removed"] else done.state

    def _sentence(self, made: dict[str, Any], result: dict[str, Any], *, nothing: bool) -> str:
        return super()._sentence(made, result, nothing=nothing and not self._removed)


def _side(endpoint: Endpoint, held: ExitStack) -> TreeSide:
    """Return the tree of an endpoint; the root of a vfolder is no entry of a directory."""
    if endpoint.path.is_root:
        return TreeSide.of(held.enter_context(endpoint.opened()))
    return TreeSide.of(held.enter_context(endpoint.parent.opened()), endpoint.path.name)


class SourceRemoval(EntryTrash):
    """Moves entries that have arrived into the trash of the source's scope."""

    def __init__(self, context: Context, request: TransferRequest) -> None:
        super().__init__(context, request.volume, request.source, context.run.job.id)
        self._keep = request.keep_seconds or 0
        self._top = VFolderPath.parse(request.source_path)
        self._paths: list[VFolderPath] = []
        self._left = 0
        #: Entries that changed and could not be put back: the trash is kept because of them.
        self._lost = 0

    def move(self, arrivals: Arrivals, source: TreeSide, manifest: Manifest) -> int:
        """Move what has arrived; return how many entries stay in the source."""
        self._run.phase("remove")
        self._arrivals, self._source, self._manifest = arrivals, source, manifest
        with ExitStack() as held:
            made = descriptors.made(self._trashed.path, self._root, descriptors.HIDDEN_MODE)
            self._kept = held.enter_context(made)
            self._vfolder_root = held.enter_context(self._backend.open_vfolder(self._vfolder))
            pending = self._resumed()
            # The root of a vfolder stays.
            pending += self._remove([""], doubt=False) if source.base else [("", False)]
            while pending:
                pending += self._remove_in(*pending.pop())
        return self._left

    def settle(self) -> dict[str, Any]:
        """Count what is in the trash, and settle it; return the members of the result."""
        moved, size_bytes = self._in_trash()
        job = self._run.job
        # The job itself holds what the target gains.
        holder = f"{job.id}.source"
        soft.settle(self._backend, self._vfolder, holder, -size_bytes, since_ms=job.started_ms)
        note = self._trashed.record() if moved else None
        if not moved:
            self._remove_empty()
        entries = (note.entries if note else None) or moved
        shown = note.document() if note and (self._keep or self._lost) else None
        return {"removed": entries, "trash": shown}

    def purge(self, manifest: Manifest) -> None:
        """Remove for good what is not kept."""
        removed = manifest.last("removed") or {}
        if removed["removed"] and removed["trash"] is None:
            self._trashed.purge()

    def abandon(self) -> None:
        """Leave what was moved in the trash; the scope no longer counts it."""
        if self._trashed.exists:
            self.settle()

    # -- Which entries -----------------------------------------------------------------------------
    def _resumed(self) -> list[tuple[str, bool]]:
        """Look again at what an earlier run moved and had no time to look at."""
        with suppress(FileNotFoundError):
            self._paths = entry_trash.all_paths(self._kept)
        seen = self._manifest.last("seen") or {"number": 0}
        moved = {one: 0 for one in entry_trash.numbers(self._kept) if one >= seen["number"]}
        return self._looked_again(moved, doubt=True)

    def _remove_in(self, directory: str, doubt: bool) -> list[tuple[str, bool]]:  # noqa: FBT001 - of a pair
        """Remove the entries of a directory that have arrived; see `_remove`."""
        try:
            doubt = doubt or self._arrivals.has_changed(directory)
            fd = self._source.anchor.open(self._source.at(directory))
        except OSError as error:
            self._stay(Stays(directory, reason_of(error)))
            return []
        try:
            names = sorted(os.listdir(fd))
        finally:
            os.close(fd)
        return self._remove([join(directory, name) for name in names], doubt=doubt)

    def _remove(self, paths: Iterable[str], *, doubt: bool) -> list[tuple[str, bool]]:
        """Remove entries that have arrived; return the directories of which only a part has."""
        arrived: dict[str, int] = {}
        partly: list[tuple[str, bool]] = []
        for path in paths:
            status = self._status(path)
            if status is None:
                continue
            found = self._arrivals.first_left(path, doubt=doubt)
            if found is None:
                arrived[path] = status.st_ino
            elif found.path != path and stat.S_ISDIR(status.st_mode):
                partly.append((path, doubt))
            else:
                self._stay(found)
        return partly + self._move(arrived, doubt=doubt)

    def _status(self, path: str) -> os.stat_result | None:
        above, name = split_name(self._source.at(path))
        with suppress(OSError), self._opened(above) as directory:
            return stat_entry(name, directory)
        return None

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        fd = self._source.anchor.open(path)
        try:
            yield fd
        finally:
            os.close(fd)

    def _stay(self, one: Stays) -> None:
        """Count and name an entry that stays, unless the request leaves it out."""
        if one.reason != EXCLUDED:
            self._left += 1
            self._context.note(str(self._full(one.path)), f"it stays in the source: {one.reason}")

    def _full(self, path: str) -> VFolderPath:
        return self._top / VFolderPath(tuple(path.split("/"))) if path else self._top

    # -- Into the trash ----------------------------------------------------------------------------
    def _move(self, arrived: dict[str, int], *, doubt: bool) -> list[tuple[str, bool]]:
        """Move entries, by path with the inode that was looked at; return directories put back."""
        if not arrived:
            return []
        first = len(self._paths)
        self._paths += [self._full(path) for path in arrived]
        entry_trash.write_paths(self._kept, self._paths)
        if self._trashed.record() is None:
            self._trashed.note(self._keep or KEEP_MEANWHILE_SECONDS, holds="entries")
        moved = {}
        for number, (path, inode) in enumerate(arrived.items(), first):
            self._run.check()
            if self._rename(number, path):
                moved[number] = inode
        back = self._looked_again(moved, doubt=doubt)
        os.fsync(self._kept)
        self._sync(self._vfolder_root)
        self._changed.clear()
        self._manifest.mark("seen", number=len(self._paths))
        return back

    def _rename(self, number: int, path: str) -> bool:
        above, name = split_name(self._source.at(path))
        try:
            with self._opened(above) as parent:
                descriptors.rename_noreplace(name, parent, str(number), self._kept)
        except FileNotFoundError:  # it was removed meanwhile
            return False
        except OSError as error:
            known = error.errno == errno.EXDEV
            self._stay(Stays(path, OTHER_FILE_SYSTEM if known else reason_of(error)))
            return False
        self._changed.add(self._full(path).parent if path else self._top.parent)
        return True

    def _looked_again(self, moved: dict[int, int], *, doubt: bool) -> list[tuple[str, bool]]:
        """Put back what is not as it was when it was looked at; return directories among that."""
        back = []
        for number, inode in moved.items():
            self._run.check()
            status = os.stat(str(number), dir_fd=self._kept, follow_symlinks=False)
            parts = self._paths[number].parts[len(self._top.parts) :]
            path, side = "/".join(parts), TreeSide.of(self._kept, str(number))
            unsure = doubt or status.st_ino != inode
            found = self._arrivals.first_left(path, doubt=unsure, moved=side)
            if found is None:
                self._run.count(Counter.DELETED, 1)
            elif not self._put_back(number, path):
                self._lost += 1
                self._stay(Stays(path, _TAKEN))
            elif stat.S_ISDIR(status.st_mode):
                back.append((path, True))
            else:
                self._stay(found)
        return back

    def _put_back(self, number: int, path: str) -> bool:
        above, name = split_name(self._source.at(path))
        try:
            with self._opened(above) as parent:
                descriptors.rename_noreplace(str(number), self._kept, name, parent)
        except OSError:
            return False
        return True
