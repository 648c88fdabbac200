"""One transfer over many nodes: its run calls others to help with the parts of its plan.

Helpers are jobs of the verb `assist`, on the same volume; each takes parts that nobody has, by the
locks in the transfer's manifest. While they are at work they hold a shared lock in its staging,
helper processes included: nothing is published or removed before all have let go.
"""

import dataclasses
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import redis

from backends import descriptors, layout
from backends.places import Place
from backends.tree import CopyOptions, Manifest, copy_tree
from core import requests
from core.control import Control, Interrupted, Released
from core.errors import JobNotFound, StorageError
from core.jobs import Job, State
from core.names import VFolderId, VFolderPath
from core.nodes import NodeBook
from core.store import Submission
from core.transfers import AssistRequest, TransferRequest
from workers.context import Context, Outcome
from workers.manifest import FILE_MODE
from workers.verifying import digest_of

#: The file in a transfer's staging that all who work there have locked.
HANDS = "hands"
#: The copy that grows in a transfer's staging.
TREE = "tree"
#: Most nodes that are called, and what is worth calling one.
NODES_MAX = 8
WORTH_ENTRIES = 1000
WORTH_BYTES = 64 * 1024**2
#: A helper looks this often whether its transfer still runs.
LOOK_SECONDS = 1.0
#: A helper that came to the transfer's own node goes back for another node so often, after a while.
RETURNS_MAX = 8
RETURN_SECONDS = 0.3
_PAUSE_SECONDS = 0.1


class Hands:
    """The transfer's side: whom it called, and whether they have let go."""

    def __init__(self, context: Context, request: TransferRequest) -> None:
        self._context = context
        self._request = request
        self._called: list[str] = []
        self._fd = -1

    def call(self, entries: int | None, size_bytes: int | None) -> None:
        """Ask other nodes that have both volumes, when it is worth it."""
        if (entries or 0) < WORTH_ENTRIES and (size_bytes or 0) < WORTH_BYTES:
            return
        if self._request.pace is not None:  # the limit is the one run's
            return
        job, store = self._context.run.job, self._context.store
        try:
            for number in range(min(NODES_MAX, self._others())):
                asked = AssistRequest(volume=self._request.home, job=job.id, number=number)
                self._called.append(store.submit(Submission(asked, priority=job.priority)).id)
        except (redis.RedisError, StorageError):  # it goes on alone
            return

    def _others(self) -> int:
        book = NodeBook(self._context.store.redis)
        nodes = [
            {node.id for node in book.serving(volume)}
            for volume in (self._request.volume, self._request.home)
        ]
        own = self._context.settings.storage_proxy.node_id
        return len(set.intersection(*nodes) - {own})

    @contextmanager
    def at(self, staging: int) -> Iterator[None]:
        """Work in a staging, where helpers may come; at the end they are told to stop."""
        self._fd = os.open(HANDS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE, dir_fd=staging)
        try:
            yield
        finally:
            self._dismiss()
            os.close(self._fd)

    def _dismiss(self) -> None:
        while self._called:
            with suppress(StorageError, redis.RedisError):  # it has ended, or sees for itself
                self._context.store.cancel(self._called.pop())

    def alone(self) -> None:
        """Tell helpers to stop, wait until they have, and keep others out from now on.

        Raises:
            Interrupted: the run has to stop first.
        """
        self._dismiss()
        while not _locked(self._fd, fcntl.LOCK_EX):
            self._context.run.check()
            threading.Event().wait(_PAUSE_SECONDS)


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
            with self._staging(request) as (tree, fence):
                self._copy(request, tree, fence)
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
    def _staging(self, request: TransferRequest) -> Iterator[tuple[int, int]]:
        """The tree that grows, and our lock beside it.

        Raises:
            FileNotFoundError: there is none any more.
            _NotNeeded: it is being published or removed.
        """
        path = layout.staging(VFolderId.parse(request.target).scope, self._helped)
        with descriptors.opened(path, self._root) as staging:
            fence = os.open(HANDS, os.O_RDWR | os.O_CLOEXEC, dir_fd=staging)
            try:
                if not _locked(fence, fcntl.LOCK_SH):
                    raise _NotNeeded
                with descriptors.opened(TREE, staging) as tree:
                    yield tree, fence
            finally:
                os.close(fence)

    def _copy(self, request: TransferRequest, tree: int, fence: int) -> None:
        source = Place(
            self._context.backend(request.volume),
            VFolderId.parse(request.source),
            VFolderPath.parse(request.source_path),
        )
        effort = dataclasses.replace(self._context.effort, fence=(fence,))
        control = cast("Control", _Watching(self._context, self._find))
        with source.opened() as fd, self._manifest(request) as record:
            options = CopyOptions(effort=effort, parts_only=True, digest=digest_of(request))
            copy_tree(fd, tree, control=control, manifest=record, options=options)

    @contextmanager
    def _manifest(self, request: TransferRequest) -> Iterator[Manifest]:
        path = layout.manifest(VFolderId.parse(request.target).scope, self._helped)
        with descriptors.opened(path.parent, self._root) as parent:
            fd = os.open(path.name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        record = Manifest(fd)
        try:
            yield record
        finally:
            record.close()


class _NotNeeded(Interrupted):
    """The transfer ended, or does without."""


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
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        with suppress(redis.RedisError):
            if self._find() is None:
                raise _NotNeeded


def _locked(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
