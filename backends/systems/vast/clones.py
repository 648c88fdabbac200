"""Clones of directories on VAST: a snapshot, and a stream that makes a writable directory of it.

The cluster shows the complete directory soon and copies what it refers to by itself. A clone is
complete when its stream has ended; until then its snapshot must stay.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from msgspec import Struct, field

from backends.mounted.rest import (
    ArrayAnswer,
    ArrayRefused,
    ArrayRequest,
    Reason,
    deadline,
    jobs,
)
from backends.systems.vast.api import VastAccepted, VastApi
from backends.systems.vast.snapshots import VastSnapshot, VastSnapshots
from core.errors import DeadlineExceeded, StorageError, Unsupported
from core.telemetry import logger

#: Begins VAST's names of a clone, and of the snapshot that it is made from.
PREFIX = "vfolder-clone-"
_STREAMS = "globalsnapstreams"
_DIGEST_BYTES = 16
#: The states in which a stream has made its directory. In others, except these, it still works.
_COMPLETE = frozenset({"completed", "finished"})
_FAILED = frozenset({"suspended", "failed"})
_LONGEST_PAUSE_SECONDS = 5.0
#: A snapshot that a dead process left is deleted by VAST after this time.
_KEPT = timedelta(days=1)
#: How long the removal of a clone that failed may take (seconds).
_CLEANING_SECONDS = 60.0
_ACCEPTED = VastAccepted | None
_log = logger(__name__)


class _StreamStatus(Struct):
    state: str = ""


class _Stream(Struct):
    id: int
    name: str = ""
    loanee_root_path: str = ""
    status: _StreamStatus = field(default_factory=_StreamStatus)

    @property
    def state(self) -> str:
        return self.status.state.lower()


class VastClones:
    """Clones of the directories of a tenant, each within a number of seconds."""

    def __init__(self, api: VastApi, snapshots: VastSnapshots, seconds: float) -> None:
        self._api = api
        self._snapshots = snapshots
        self._seconds = seconds

    def make(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Clone a directory of the cluster; its kept state, where the path leads into a snapshot.

        Raises:
            Unsupported: VAST does not clone it, or did not in time. No part of the target is left.
            StorageError: VAST failed, and a part of the target may be left.
        """
        digest = hashlib.blake2b(str(target).encode(), digest_size=_DIGEST_BYTES).hexdigest()
        name = PREFIX + digest
        with deadline.within(self._seconds):
            self._clean(name)  # of a process that died
            kept = self._snapshots.shown_at(source) or self._keep(source, name)
            failure = self._failure(kept, name, target)
            if failure is None:
                self._drop_snapshot(name)
                return
        with deadline.within(_CLEANING_SECONDS):  # the one above may have passed
            self._clean(name)
        raise Unsupported(f"VAST did not clone the directory. {failure}")

    def _failure(self, kept: VastSnapshot, name: str, target: PurePosixPath) -> str | None:
        """Clone, and return why VAST did not."""
        try:
            self._clone(kept, name, target)
        except (ArrayRefused, DeadlineExceeded) as problem:
            return problem.detail
        return None

    def _keep(self, source: PurePosixPath, name: str) -> VastSnapshot:
        try:
            return self._snapshots.make(str(source), name, datetime.now(UTC) + _KEPT)
        except ArrayRefused as refusal:
            raise Unsupported(f"VAST keeps no snapshot to clone. {refusal.detail}") from None

    def _clone(self, kept: VastSnapshot, name: str, target: PurePosixPath) -> None:
        body = {"loanee_root_path": f"{target}/", "name": name, "enabled": True}
        if kept.tenant_id is not None:
            body["loanee_tenant_id"] = kept.tenant_id
        path = f"{self._api.prefix}/snapshots/{kept.id}/clone/"
        request = ArrayRequest("POST", path, body=body, shape=_ACCEPTED)
        made = self._api.client.create(request, lambda: self._stream(name))
        if isinstance(made, ArrayAnswer):
            self._api.finish(made.body)

        def ended() -> bool:
            found = self._stream(name)
            if found is not None and found.state in _FAILED:
                raise ArrayRefused(f"VAST's clone {found.id} is {found.state}.")
            return found is not None and found.state in _COMPLETE

        jobs.wait(ended, _LONGEST_PAUSE_SECONDS)
        self._forget(name, keep=True)

    def _clean(self, name: str) -> None:
        """Remove what an attempt left: the stream with its directory, and its snapshot."""
        self._forget(name, keep=False)
        self._drop_snapshot(name)

    def _forget(self, name: str, *, keep: bool) -> None:
        """Delete a stream; `keep` its directory, or remove that too. A missing one is fine."""
        found = self._stream(name)
        if found is None:
            return
        path = f"{self._api.prefix}/{_STREAMS}/{found.id}/"
        if found.state not in _COMPLETE:
            self._ask(ArrayRequest("PATCH", f"{path}stop/", shape=_ACCEPTED))
        body = {"remove_dir": not keep and self._has_directory(found)}
        self._ask(ArrayRequest("DELETE", path, body=body, shape=_ACCEPTED))
        jobs.wait(lambda: self._stream(name) is None, _LONGEST_PAUSE_SECONDS)

    def _ask(self, request: ArrayRequest) -> None:
        """Change a stream; one that is gone is fine: an answer may have been lost."""
        try:
            self._api.finish(self._api.client.send(request).body)
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise

    def _has_directory(self, stream: _Stream) -> bool:
        """Return whether the directory of a stream may exist: a caller may have removed it."""
        path = stream.loanee_root_path.rstrip("/")
        return not path or self._api.knows(path) is not False

    def _drop_snapshot(self, name: str) -> None:
        """Delete the snapshot of a clone, if it has one of its own; VAST does so later itself."""
        try:
            for one in self._snapshots.named(name):
                self._snapshots.drop(one)
        except StorageError as error:
            _log.warning("the snapshot of a clone is left", reason=error.detail)

    def _stream(self, name: str) -> _Stream | None:
        rows = self._api.rows(_STREAMS, _Stream, name=name)
        return next((row for row in rows if row.name == name), None)
