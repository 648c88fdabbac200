"""The helper's side of a transfer over many nodes: do parts of its plan.

Helpers are jobs of the verb `assist`, on the same volume; each takes parts that nobody has, by the
locks in the transfer's manifest. How the transfer waits for them is told in
`workers.verbs.transfer.helpers`.
"""

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import redis

from backends.fs import descriptors, layout
from backends.transfer import Endpoint
from backends.tree import CopyOptions, TreeManifest, copy_tree
from core.errors import JobNotFound
from core.jobs import Control, Interrupted, Job, Released, State, requests
from core.jobs.requests import AssistRequest, TransferRequest
from core.names import VFolderId, VFolderPath
from workers.run import Context, Outcome
from workers.verbs.transfer.fallback_staging import record_of
from workers.verbs.transfer.helpers import TREE, held_by
from workers.verbs.transfer.verify import digest_of

#: A helper looks this often whether its transfer still runs.
LOOK_SECONDS = 1.0
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
        if now - self._asked > LOOK_SECONDS:
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
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        with suppress(redis.RedisError):
            if self._find() is None:
                raise _NotNeeded
