"""Helpers of a transfer: jobs on other nodes that copy parts of its plan.

A transfer submits jobs of the verb `assist`. Each takes parts that no other process has, by the
locks in the transfer's record.

A helper and all its processes hold two locks (flock(2)) in the staging: a shared one on
`HELPERS_LOCK`, and one on a file that names the helper's job and run. While the first is held, the
transfer publishes nothing and removes nothing.

A helper whose run is dead in the store may hold the lock all the same: it hangs, and may wake at
any time and write. After `HUNG_LEASES` the transfer abandons the shared tree to it. It moves what
is done into a new tree, which the hung helper never opened, and continues alone. That fallback has
a directory and a record of its own, because the helper may write into both of the first when it
wakes. Helpers never open the job's own manifest, which they could keep locked.
"""

import dataclasses
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import PurePosixPath
from typing import Any, cast

import redis

from backends.fs import descriptors, layout
from backends.transfer import Endpoint, file_cloner
from backends.tree import CopyOptions, TreeManifest, copy_tree, salvage
from core.cluster import NodeStore
from core.errors import JobNotFound, StorageError, UnknownVolume
from core.jobs import Control, Interrupted, Job, Released, State, requests
from core.jobs.requests import AssistRequest, CloneRequest, TransferRequest
from core.jobs.store import Submission
from core.names import QuotaScope, VFolderId, VFolderPath
from workers.run import FILE_MODE, Context, Manifest, Outcome
from workers.verbs.transfer.verify import digest_of

# Names on disk: released versions use them, and this version may resume their jobs.
#: The file in a transfer's staging on which every process that works there holds a lock.
HELPERS_LOCK = "hands"
#: The prefix of a helper's own lock file, before the ids of its job and run.
OWN_LOCK_PREFIX = "hand."
#: The tree that helpers share.
TREE = "tree"
#: The tree that a transfer fills alone after a helper hung.
FALLBACK_TREE = "anew"
#: The shared tree after it was abandoned: no helper can open it by its first name any more.
ABANDONED_TREE = "left"
#: Versions up to 0.1.0 stage the tree of a clone where a transfer has its staging.
CLONE_STAGING_SUFFIX = ".clone"

#: Helpers of one transfer at most.
NODES_MAX = 8
#: A copy with fewer entries and fewer bytes calls no helper.
WORTH_ENTRIES = 1000
WORTH_BYTES = 64 * 1024**2
#: A transfer that waits looks at its helpers this often.
LOOK_SECONDS = 0.5
#: A helper with a dead run that holds its lock for this many leases hangs.
HUNG_LEASES = 2.0
#: A live helper that has copied nothing for this many leases is cancelled.
STILL_LEASES = 10.0
_PAUSE_SECONDS = 0.1

#: A helper checks this often whether its transfer still runs.
CHECK_SECONDS = 1.0
#: A helper that starts on the transfer's own node goes back to the queue this often, each time
#: after a pause, so that another node can take it.
RETURNS_MAX = 8
RETURN_SECONDS = 0.3


class HelperHangs(Interrupted):
    """A helper hangs and may write into the shared tree when it wakes: use another tree."""


def clone_as_transfer(request: CloneRequest) -> TransferRequest:
    """Return the transfer that a clone is; the clone compares the trees itself."""
    return TransferRequest(
        volume=request.volume,
        source=request.source,
        target=request.target,
        target_volume=request.target_volume,
        verify="none",
        strict=request.strict,
    )


def clone_staging(scope: QuotaScope | None, job: str) -> PurePosixPath:
    """Return where the result of a clone grows."""
    staging = layout.staging(scope, job)
    return staging.with_name(f"{staging.name}{CLONE_STAGING_SUFFIX}")


class TransferHelpers:
    """The helpers of one run of a transfer."""

    def __init__(self, context: Context, request: TransferRequest) -> None:
        self._context = context
        self._request = request
        self._lease = context.settings.vfolder.jobs.lease_seconds
        self._called: list[str] = []
        self._staging = self._fd = -1
        self._looked = 0.0
        self._dead_since: float | None = None
        #: By run: its counters when it last made progress, and when that was.
        self._moves: dict[str, tuple[object, float]] = {}

    def call(self, entries: int | None, size_bytes: int | None) -> None:
        """Submit a job for each other node that serves both volumes, when the copy is big enough.

        A transfer with a limit of its own gets no helpers: the limit is that of one run.
        """
        if (entries or 0) < WORTH_ENTRIES and (size_bytes or 0) < WORTH_BYTES:
            return
        if self._request.pace is not None or self._fd < 0:
            return
        job, store = self._context.run.job, self._context.store
        try:
            for number in range(min(NODES_MAX, self._other_nodes())):
                request = AssistRequest(volume=self._request.home, job=job.id, number=number)
                self._called.append(store.submit(Submission(request, priority=job.priority)).id)
        except (redis.RedisError, StorageError):  # the transfer continues alone
            return

    def _other_nodes(self) -> int:
        nodes = NodeStore(self._context.store.redis)
        serving = [
            {node.id for node in nodes.serving(volume)}
            for volume in (self._request.volume, self._request.home)
        ]
        this_node = self._context.settings.storage_proxy.node_id
        return len(set.intersection(*serving) - {this_node})

    @contextmanager
    def share(self, staging: int) -> Iterator[None]:
        """Let helpers into a staging; cancel them when the block ends."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._staging = staging
        self._fd = os.open(HELPERS_LOCK, flags, FILE_MODE, dir_fd=staging)
        try:
            yield
        finally:
            self._dismiss()
            os.close(self._fd)
            self._fd = -1

    def _dismiss(self) -> None:
        while self._called:
            self._cancel(self._called.pop())

    def _cancel(self, job: str) -> None:
        with suppress(StorageError, redis.RedisError):  # it has ended, or finds out by itself
            self._context.store.cancel(job)

    def exclude(self) -> None:
        """Cancel the helpers, wait until they have ended, and keep others out from now on.

        Raises:
            Interrupted: the run has to stop first; `HelperHangs` when a helper keeps its lock.
        """
        self._dismiss()
        while self._fd >= 0 and not locked(self._fd, fcntl.LOCK_EX):
            self._context.run.check()
            self.look()
            threading.Event().wait(_PAUSE_SECONDS)

    def look(self) -> None:
        """Check for hung helpers, at most every `LOOK_SECONDS`; called while the run waits.

        Raises:
            HelperHangs: every helper that holds a lock has been dead for `HUNG_LEASES`.
        """
        now = time.monotonic()
        if self._fd < 0 or now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        holders = self._holders()
        alive = [run for job, run in holders if self._is_alive(job, run, now)]
        if alive or not holders:
            self._dead_since = None
            return
        if self._dead_since is None:
            self._dead_since = now
        if now - self._dead_since > HUNG_LEASES * self._lease:
            raise HelperHangs(f"{len(holders)} helpers hang")

    def _holders(self) -> list[tuple[str, str]]:
        """Return job and run of each helper that holds its lock; remove the files of all others."""
        holders = []
        for name in _fresh_names(self._staging):
            if name.startswith(OWN_LOCK_PREFIX) and not self._is_free(name):
                _, job, run = name.split(".")
                holders.append((job, run))
        return holders

    def _is_free(self, name: str) -> bool:
        try:
            fd = os.open(name, os.O_RDWR | os.O_CLOEXEC, dir_fd=self._staging)
        except FileNotFoundError:
            return True
        try:
            if not locked(fd, fcntl.LOCK_EX):
                return False
            os.unlink(name, dir_fd=self._staging)
            return True
        finally:
            os.close(fd)

    def _is_alive(self, name: str, run: str, now: float) -> bool:
        """Whether a run still has its job; cancel a run that makes no progress."""
        try:
            job = self._context.store.get(name)
        except JobNotFound:
            return False
        except redis.RedisError:  # unknown; this run does not outlive the store's absence either
            return True
        if job.run != run or job.state not in (State.RUNNING, State.CANCELLING):
            return False
        progress = job.member("progress") or {}
        done = progress.get("done_items"), progress.get("done_bytes")
        seen, since = self._moves.get(run, (None, now))
        if done != seen:
            self._moves[run] = (done, now)
        elif now - since > STILL_LEASES * self._lease:
            self._cancel(name)
        return True

    @staticmethod
    def staged_names(staging: int) -> list[str]:
        """Return what a staging holds beside lock files."""
        return [name for name in _fresh_names(staging) if not _is_lock(name)]

    @staticmethod
    def close_off(staging: int) -> None:
        """Remove the lock files, so that no helper comes in any more; a hung one may stay."""
        for name in filter(_is_lock, _fresh_names(staging)):
            os.unlink(name, dir_fd=staging)


def _fresh_names(staging: int) -> list[str]:
    """List a staging by a descriptor of its own.

    On btrfs, a descriptor may not list entries that were created after it was opened.
    """
    return descriptors.names(".", staging)


def _is_lock(name: str) -> bool:
    return name == HELPERS_LOCK or name.startswith(OWN_LOCK_PREFIX)


@contextmanager
def helper_locks(job: str, run: str, staging: int) -> Iterator[tuple[int, int] | None]:
    """Hold a helper's two locks during the block; give None when the transfer excludes helpers.

    Raises:
        FileNotFoundError: the transfer closed its staging off, or has ended.
    """
    shared = os.open(HELPERS_LOCK, os.O_RDWR | os.O_CLOEXEC, dir_fd=staging)
    try:
        # The file gets its name only once it is locked, so a file with that name is never free.
        draft, name = f"new.{job}.{run}", f"{OWN_LOCK_PREFIX}{job}.{run}"
        own = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE, dir_fd=staging)
        try:
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(draft, name, src_dir_fd=staging, dst_dir_fd=staging)
            yield (shared, own) if locked(shared, fcntl.LOCK_SH) else None
        finally:
            os.close(own)
    finally:
        os.close(shared)


def locked(fd: int, how: int) -> bool:
    """Take a lock; False when another process has it."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# -- The tree in which a copy grows ----------------------------------------------------------------
def abandon_shared_staging(manifest: Manifest) -> None:
    """Note that the copy grows in the fallback tree from now on, in this run and all later ones."""
    manifest.mark("alone")


def record_of(tree: str) -> str:
    """Return the name of the record beside a tree."""
    return f"{tree}.manifest"


def enter_tree(
    held: ExitStack,
    staging: int,
    context: Context,
    helpers: TransferHelpers,
    manifest: Manifest,
) -> tuple[str, TreeManifest]:
    """Return the name of the tree to copy into and the record of the copy, open as long as `held`.

    Raises:
        Interrupted: the run has to stop; `HelperHangs` when a helper hangs while it appends.
        OSError, StorageError: the volume fails.
    """

    def on_wait() -> None:
        context.run.check()
        helpers.look()

    tree = TREE if manifest.last("alone") is None else FALLBACK_TREE
    if tree == TREE:
        held.enter_context(helpers.share(staging))
    elif manifest.last("salvaged") is None:
        _salvage(staging, context)
        manifest.mark("salvaged")
    record = TreeManifest.open(staging, record_of(tree), on_wait)
    held.callback(record.close)
    return tree, record


def _salvage(staging: int, context: Context) -> None:
    """Move what is done from the abandoned tree into the fallback tree; may be repeated."""
    TransferHelpers.close_off(staging)
    if TREE in descriptors.names(".", staging):
        descriptors.rename_new(TREE, staging, ABANDONED_TREE, staging)
    if ABANDONED_TREE not in descriptors.names(".", staging):
        return
    with ExitStack() as both:
        old = both.enter_context(descriptors.opened(ABANDONED_TREE, staging))
        made = context.hidden_directory(staging, PurePosixPath(FALLBACK_TREE))
        new = both.enter_context(made)
        record = TreeManifest.open(staging, record_of(TREE), read_only=True)
        both.callback(record.close)
        salvage(old, new, control=context.run, manifest=record, effort=context.effort)


# -- The helper's side -----------------------------------------------------------------------------
class Assist:
    """One run of a helper: the verb `assist`."""

    def __init__(self, context: Context, request: AssistRequest) -> None:
        self._context = context
        self._run = context.run
        self._helped = request.job
        self._root = context.root(request.volume)

    def __call__(self) -> Outcome:
        """Copy parts of the transfer until none is free, or until it needs no help any more."""
        job = self._run.patiently(self._running_job)
        if job is None:
            return Outcome("nothing to help with")
        request, path = self._copied_by(job)
        if request is None:
            return Outcome("nothing to help with")
        self._prefer_another_node(job)
        try:
            with self._entered(path) as (tree, record, fence):
                self._copy(request, (tree, record), fence)
        except (FileNotFoundError, _NotNeeded):
            return Outcome("not needed any more")
        return Outcome(f"helped {job.id}")

    def undo(self) -> None:
        """Undo nothing: what was copied belongs to the transfer."""

    @staticmethod
    def _copied_by(job: Job) -> tuple[TransferRequest | None, PurePosixPath]:
        """Return what the job copies, None when it is of another verb, and its staging."""
        request = requests.parse(job.member("request"))
        if isinstance(request, CloneRequest):
            request = clone_as_transfer(request)
            return request, clone_staging(VFolderId.parse(request.target).scope, job.id)
        if isinstance(request, TransferRequest):
            return request, layout.staging(VFolderId.parse(request.target).scope, job.id)
        return None, PurePosixPath()

    def _running_job(self) -> Job | None:
        try:
            job = self._context.store.get(self._helped)
        except JobNotFound:
            return None
        return job if job.state is State.RUNNING else None

    def _prefer_another_node(self, job: Job) -> None:
        """Leave the help to another node for a while when the transfer runs on this one.

        Raises:
            Released: another node may take it.
        """
        here = job.fields.get("node") == self._context.settings.storage_proxy.node_id
        if here and self._run.job.attempt <= RETURNS_MAX:
            threading.Event().wait(RETURN_SECONDS)
            raise Released("for another node")

    @contextmanager
    def _entered(self, path: PurePosixPath) -> Iterator[tuple[int, TreeManifest, tuple[int, ...]]]:
        """Open the shared tree with its record, and hold this run's locks beside it.

        Raises:
            FileNotFoundError: the staging has no shared tree, or is closed off.
            _NotNeeded: the transfer publishes it or removes it.
        """
        with (
            descriptors.opened(path, self._root) as staging,
            helper_locks(self._run.job.id, self._run.id, staging) as fence,
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
        self, request: TransferRequest, shared: tuple[int, TreeManifest], fence: tuple[int, ...]
    ) -> None:
        try:
            backend = self._context.backend(request.volume)
        except UnknownVolume as error:  # another node helps: this one does not serve the source
            raise _NotNeeded from error
        source = Endpoint(
            backend,
            VFolderId.parse(request.source),
            VFolderPath.parse(request.source_path),
        )
        effort = dataclasses.replace(self._context.effort, fence=fence)
        control = cast("Control", _HelperControl(self._context, self._running_job))
        tree, record = shared
        with source.opened() as fd:
            target = self._context.backend(request.home)
            options = CopyOptions(
                effort=effort,
                parts_only=True,
                digest=digest_of(request.verify),
                clone_file=file_cloner(source.backend, target, (fd, tree)),
            )
            copy_tree(fd, tree, control=control, manifest=record, options=options)


class _NotNeeded(Interrupted):
    """The transfer has ended, or continues without helpers."""


class _Patience:
    """Waits one lease at most while another process appends to the record: it may hang."""

    def __init__(self, context: Context) -> None:
        self._run = context.run
        self._lease = context.settings.vfolder.jobs.lease_seconds
        self._since = self._called_at = 0.0

    def __call__(self) -> None:
        """Allow one more wait.

        Raises:
            Interrupted: the run has to stop, or has waited for a lease.
        """
        self._run.check()
        now = time.monotonic()
        if now - self._called_at > CHECK_SECONDS:  # this is another wait than the last one
            self._since = now
        self._called_at = now
        if now - self._since > self._lease:
            raise _NotNeeded


class _HelperControl:
    """The run's control, which also ends the helper when its transfer does not run any more."""

    def __init__(self, context: Context, running_job: Callable[[], Job | None]) -> None:
        self._run = context.run
        self._running_job = running_job
        self._checked_at = time.monotonic()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - every other member of a control
        return getattr(self._run, name)

    def check(self) -> None:
        """See `Control.check`."""
        self._run.check()
        if time.monotonic() - self._checked_at < CHECK_SECONDS:
            return
        self._checked_at = time.monotonic()
        with suppress(redis.RedisError):
            if self._running_job() is None:
                raise _NotNeeded
