"""The transfer's side of a transfer over many nodes: whom its run called, and who still holds on.

Whoever helps holds two locks (flock(2)) in the staging, helper processes included: a shared one on
`hands`, and one on a file that names his job and run. While the first is held nothing is published
or removed. Should a helper hold it whose run is dead in the store, nobody can say when he wakes and
writes: after a while the transfer leaves him the tree as it is, moves what is done into a new one
that he never saw, and goes on alone.
"""

import dataclasses
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import PurePosixPath
from typing import Any, cast

import redis

from backends.fs import descriptors, layout
from backends.transfer import Endpoint
from backends.tree import CopyOptions, TreeManifest, copy_tree, salvage
from core.cluster import NodeStore
from core.errors import JobNotFound, StorageError
from core.jobs import Control, Interrupted, Job, Released, State, requests
from core.jobs.requests import AssistRequest, TransferRequest
from core.jobs.store import Submission
from core.names import VFolderId, VFolderPath
from workers.run import FILE_MODE, Context, Manifest, Outcome
from workers.verbs.transfer.verify import digest_of

#: The file in a transfer's staging that all who work there have locked.
HANDS = "hands"
#: Begins the name of a helper's own file, before the ids of his job and run.
HAND = "hand."
#: The copy that grows in a transfer's staging.
TREE = "tree"
#: Most nodes that are called, and what is worth calling one.
NODES_MAX = 8
WORTH_ENTRIES = 1000
WORTH_BYTES = 64 * 1024**2
#: While there is nothing but waiting, helpers are looked at this often.
LOOK_SECONDS = 0.5
#: A dead run that holds on for so many leases hangs.
HUNG_LEASES = 2.0
#: A live one that has moved nothing for so many leases is told to stop.
STILL_LEASES = 10.0
_PAUSE_SECONDS = 0.1


class HelperHangs(Interrupted):
    """Somebody may wake at any time and write into the tree: another one is needed."""


class TransferHelpers:
    """Those who help one run of a transfer."""

    def __init__(self, context: Context, request: TransferRequest) -> None:
        self._context = context
        self._request = request
        self._lease = context.settings.vfolder.jobs.lease_seconds
        self._called: list[str] = []
        self._staging = self._fd = -1
        self._looked = 0.0
        self._dead_since: float | None = None
        #: By run: what it had done when it was last seen to move, and when that was.
        self._moves: dict[str, tuple[object, float]] = {}

    def call(self, entries: int | None, size_bytes: int | None) -> None:
        """Ask other nodes that have both volumes, when it is worth it and they may come."""
        if (entries or 0) < WORTH_ENTRIES and (size_bytes or 0) < WORTH_BYTES:
            return
        if self._request.pace is not None or self._fd < 0:  # the limit is the one run's
            return
        job, store = self._context.run.job, self._context.store
        try:
            for number in range(min(NODES_MAX, self._others())):
                asked = AssistRequest(volume=self._request.home, job=job.id, number=number)
                self._called.append(store.submit(Submission(asked, priority=job.priority)).id)
        except (redis.RedisError, StorageError):  # it goes on alone
            return

    def _others(self) -> int:
        book = NodeStore(self._context.store.redis)
        nodes = [
            {node.id for node in book.serving(volume)}
            for volume in (self._request.volume, self._request.home)
        ]
        own = self._context.settings.storage_proxy.node_id
        return len(set.intersection(*nodes) - {own})

    @contextmanager
    def at(self, staging: int) -> Iterator[None]:
        """Work in a staging, where helpers may come; at the end they are told to stop."""
        self._staging = staging
        self._fd = os.open(HANDS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE, dir_fd=staging)
        try:
            yield
        finally:
            self._dismiss()
            os.close(self._fd)
            self._fd = -1

    def _dismiss(self) -> None:
        while self._called:
            self._stop(self._called.pop())

    def _stop(self, job: str) -> None:
        with suppress(StorageError, redis.RedisError):  # it has ended, or sees for itself
            self._context.store.cancel(job)

    def alone(self) -> None:
        """Tell helpers to stop, wait until they have, and keep others out from now on.

        Raises:
            Interrupted: the run has to stop first; `HelperHangs` when one does not let go.
        """
        self._dismiss()
        while self._fd >= 0 and not locked(self._fd, fcntl.LOCK_EX):
            self._context.run.check()
            self.look()
            threading.Event().wait(_PAUSE_SECONDS)

    def look(self) -> None:
        """See whether anybody is left to wait for; called while there is nothing else to do.

        Raises:
            HelperHangs: who holds on is dead, and has been for a while.
        """
        now = time.monotonic()
        if self._fd < 0 or now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        held = self._held()
        alive = [run for job, run in held if self._lives(job, run, now)]
        if alive or not held:
            self._dead_since = None
            return
        if self._dead_since is None:
            self._dead_since = now
        if now - self._dead_since > HUNG_LEASES * self._lease:
            raise HelperHangs(f"{len(held)} helpers hang")

    def _held(self) -> list[tuple[str, str]]:
        """Jobs and runs of those who hold on; the files of all others go."""
        found = []
        for name in os.listdir(self._staging):
            if name.startswith(HAND) and not self._let_go(name):
                _, job, run = name.split(".")
                found.append((job, run))
        return found

    def _let_go(self, name: str) -> bool:
        try:
            fd = os.open(name, os.O_RDWR | os.O_CLOEXEC, dir_fd=self._staging)
        except FileNotFoundError:
            return True
        try:
            if not locked(fd, fcntl.LOCK_EX):
                return False
            os.unlink(name, dir_fd=self._staging)
        finally:
            os.close(fd)
        return True

    def _lives(self, name: str, run: str, now: float) -> bool:
        """Tell whether a run still has its job; one that moves nothing is told to stop."""
        try:
            job = self._context.store.get(name)
        except JobNotFound:
            return False
        except redis.RedisError:  # nobody knows; this run does not last without the store either
            return True
        if job.run != run or job.state not in (State.RUNNING, State.CANCELLING):
            return False
        progress = job.member("progress") or {}
        done = progress.get("done_items"), progress.get("done_bytes")
        seen, since = self._moves.get(run, (None, now))
        if done != seen:
            self._moves[run] = (done, now)
        elif now - since > STILL_LEASES * self._lease:
            self._stop(name)
        return True

    @staticmethod
    def leave(staging: int) -> None:
        """Let nobody in any more, whoever still hangs there."""
        for name in os.listdir(staging):
            if name == HANDS or name.startswith(HAND):
                os.unlink(name, dir_fd=staging)


@contextmanager
def held_by(job: str, run: str, staging: int) -> Iterator[tuple[int, int] | None]:
    """The helper's side: both locks, as long as the block lasts; None when they are not to be had.

    Raises:
        FileNotFoundError: nobody is let in any more.
    """
    everyone = os.open(HANDS, os.O_RDWR | os.O_CLOEXEC, dir_fd=staging)
    try:
        # Found under its name it is locked already.
        draft, name = f"new.{job}.{run}", f"{HAND}{job}.{run}"
        own = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE, dir_fd=staging)
        try:
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(draft, name, src_dir_fd=staging, dst_dir_fd=staging)
            yield (everyone, own) if locked(everyone, fcntl.LOCK_SH) else None
        finally:
            os.close(own)
    finally:
        os.close(everyone)


def locked(fd: int, how: int) -> bool:
    """Take a lock, unless somebody else has it."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


#: The second tree.
ANEW = "anew"
#: The first one, once nobody may come any more.
LEFT = "left"


def forsake(manifest: Manifest) -> None:
    """From now on the copy grows in the second tree."""
    manifest.mark("alone")


def record_of(tree: str) -> str:
    """The name of a tree's record beside it."""
    return f"{tree}.manifest"


def entered(
    held: ExitStack, staging: int, context: Context, hands: TransferHelpers, manifest: Manifest
) -> tuple[str, TreeManifest]:
    """The name of the tree in the staging and the record of its copy, for as long as `held` lasts.

    Raises:
        Interrupted: the run has to stop; `HelperHangs` when one hangs while it appends.
        OSError, StorageError: the volume refuses.
    """

    def waiting() -> None:
        context.run.check()
        hands.look()

    tree = TREE if manifest.last("alone") is None else ANEW
    if tree == TREE:
        held.enter_context(hands.at(staging))
    elif manifest.last("salvaged") is None:
        _salvage(staging, context)
        manifest.mark("salvaged")
    record = TreeManifest.open(staging, record_of(tree), waiting)
    held.callback(record.close)
    return tree, record


def _salvage(staging: int, context: Context) -> None:
    """Bring over what is done; idempotent."""
    TransferHelpers.leave(staging)
    if TREE in descriptors.names(".", staging):
        descriptors.rename_new(TREE, staging, LEFT, staging)
    if LEFT not in descriptors.names(".", staging):
        return
    with ExitStack() as both:
        old = both.enter_context(descriptors.opened(LEFT, staging))
        new = both.enter_context(context.room(staging, PurePosixPath(ANEW)))
        record = TreeManifest.open(staging, record_of(TREE), read_only=True)
        both.callback(record.close)
        salvage(old, new, control=context.run, manifest=record, effort=context.effort)


#: A helper looks this often whether its transfer still runs.
TRANSFER_LOOK_SECONDS = 1.0
#: A helper that came to the transfer's own node goes back for another node so often, after a while.
RETURNS_MAX = 8
RETURN_SECONDS = 0.3


class Assist:
    """The helper's side: one run."""

    def __init__(self, context: Context, request: AssistRequest) -> None:
        self._context = context
        self._run = context.run
        self._helped = request.job
        self._root = context.root(request.volume)

    def __call__(self) -> Outcome:
        """Do parts of the transfer until none are left, or until it needs no help any more."""
        job = self._find()
        if job is None:
            return Outcome("nothing to help with")
        request = requests.parse(job.member("request"))
        if not isinstance(request, TransferRequest):
            return Outcome("nothing to help with")
        self._prefer_another_node(job)
        try:
            with self._staging(request) as (tree, record, fence):
                self._copy(request, (tree, record), fence)
        except (FileNotFoundError, _NotNeeded):
            return Outcome("not needed any more")
        return Outcome(f"helped {job.id}")

    def undo(self) -> None:
        """Nothing to undo: what was copied belongs to the transfer."""

    def _find(self) -> Job | None:
        try:
            job = self._context.store.get(self._helped)
        except JobNotFound:
            return None
        return job if job.state is State.RUNNING else None

    def _prefer_another_node(self, job: Job) -> None:
        """Leave it to another node for a while when the transfer runs on this one.

        Raises:
            Released: another may take it.
        """
        here = job.fields.get("node") == self._context.settings.storage_proxy.node_id
        if here and self._run.job.attempt <= RETURNS_MAX:
            threading.Event().wait(RETURN_SECONDS)
            raise Released("for another node")

    @contextmanager
    def _staging(
        self, request: TransferRequest
    ) -> Iterator[tuple[int, TreeManifest, tuple[int, ...]]]:
        """The tree that grows with its record, and our locks beside it.

        Raises:
            FileNotFoundError: there is none any more, or nobody is let in.
            _NotNeeded: it is being published or removed.
        """
        path = layout.staging(VFolderId.parse(request.target).scope, self._helped)
        with (
            descriptors.opened(path, self._root) as staging,
            held_by(self._run.job.id, self._run.id, staging) as fence,
        ):
            if fence is None:
                raise _NotNeeded
            with descriptors.opened(TREE, staging) as tree:
                record = TreeManifest.open(staging, record_of(TREE), _Patience(self._context))
                try:
                    yield tree, record, fence
                finally:
                    record.close()

    def _copy(
        self, request: TransferRequest, grows: tuple[int, TreeManifest], fence: tuple[int, ...]
    ) -> None:
        source = Endpoint(
            self._context.backend(request.volume),
            VFolderId.parse(request.source),
            VFolderPath.parse(request.source_path),
        )
        effort = dataclasses.replace(self._context.effort, fence=fence)
        control = cast("Control", _Watching(self._context, self._find))
        tree, record = grows
        with source.opened() as fd:
            options = CopyOptions(effort=effort, parts_only=True, digest=digest_of(request))
            copy_tree(fd, tree, control=control, manifest=record, options=options)


class _NotNeeded(Interrupted):
    """The transfer ended, or does without."""


class _Patience:
    """Asked while another writes into the record: not for ever, he may hang."""

    def __init__(self, context: Context) -> None:
        self._run = context.run
        self._lease = context.settings.vfolder.jobs.lease_seconds
        self._since = self._asked = 0.0

    def __call__(self) -> None:
        """Wait on, for a lease at most.

        Raises:
            Interrupted: the run has to stop, or goes without being told to.
        """
        self._run.check()
        now = time.monotonic()
        if now - self._asked > TRANSFER_LOOK_SECONDS:
            self._since = now
        self._asked = now
        if now - self._since > self._lease:
            raise _NotNeeded


class _Watching:
    """The run's control, which also ends when the transfer does not run any more."""

    def __init__(self, context: Context, find: Any) -> None:  # noqa: ANN401 - a callable
        self._run = context.run
        self._find = find
        self._looked = time.monotonic()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the control has
        return getattr(self._run, name)

    def check(self) -> None:
        """See `Control.check`."""
        self._run.check()
        if time.monotonic() - self._looked < TRANSFER_LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        with suppress(redis.RedisError):
            if self._find() is None:
                raise _NotNeeded
