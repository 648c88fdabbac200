"""The verb `transfer`: bring a vfolder, or a path in it, into another vfolder of any volume.

plan (both sides looked at, conflicts found, room checked) → copy into staging → verify as asked →
publish: by one rename where the target is not there yet, else entry by entry over what is there.
Until the publishing begins nothing of the target is touched; from then on it is finished, whoever
dies meanwhile.
"""

import os
from contextlib import ExitStack, suppress
from typing import Any

from backends.fs import layout
from backends.quota import blame, check_capacity, soft
from backends.transfer import Endpoint, keeps_file, only, selection_of
from backends.tree import (
    CopyOptions,
    Loss,
    OverlayOptions,
    OverlayTrees,
    Receipt,
    Selection,
    SkipReason,
    copy_tree,
    read_notes,
    remove_tree,
)
from core.errors import BackendFailed, NoSpace, QuotaExceeded, QuotaScopeExists
from core.jobs import State
from core.jobs.requests import TransferRequest
from core.names import VFolderId, VFolderPath
from core.telemetry import logger
from workers.run import Context, Manifest, Outcome
from workers.verbs.clone import document
from workers.verbs.transfer.helpers import TREE, HelperHangs, TransferHelpers, entered, forsake
from workers.verbs.transfer.publish import FILE, NEW, OVER, Publisher, mode_of
from workers.verbs.transfer.verify import digest_of, verify_staged
from workers.verbs.transfer.xcp import BulkCopy, exports_of

_log = logger(__name__)

#: What an overlay displaces, in the staging.
DISPLACED = "displaced"
#: Not published at all: by the caller's wish the one file that is there stays.
KEEP = "keep"
#: Losses that make what is extra on the target uncertain.
DOUBTS = frozenset({Loss.UNSETTLED, Loss.VANISHED, Loss.MOUNT})


class Transfer:
    """One run of a transfer."""

    def __init__(self, context: Context, request: TransferRequest) -> None:
        self._context = context
        self._run = context.run
        self._request = request
        self._from = Endpoint(
            context.backend(request.volume),
            VFolderId.parse(request.source),
            VFolderPath.parse(request.source_path),
        )
        self._to = Endpoint(
            context.backend(request.home),
            VFolderId.parse(request.target),
            VFolderPath.parse(request.target_path),
        )
        self._root = context.root(request.home)
        self._staging = layout.staging(self._to.vfolder.scope, self._run.job.id)
        exports = exports_of(self._from, self._to) if request.is_complete else None
        self._bulk = BulkCopy(context, exports) if exports else None
        self._hands = TransferHelpers(context, request)
        self._top = "" if self._from.path.is_root else f"{self._from.path}/"

    def __call__(self) -> Outcome:
        """Do what is left to do of the transfer."""
        self._make_scope()
        manifest = self._context.manifest(self._root, self._to.vfolder.scope)
        self._context.report(self._root, self._to.vfolder.scope, goes_on=True)
        mode = self._decide(manifest)
        if mode == KEEP:
            return Outcome("the target's file stays", {"kept": 1, "target": str(self._to)})
        publication = Publisher(self._context, self._to, mode)
        if not publication.done(manifest):
            self._obey_on_error(publication)
            try:
                self._transfer(mode, publication, manifest)
            except HelperHangs as why:
                _log.warning("staged tree left", reason=str(why))
                forsake(manifest)
                self._transfer(mode, publication, manifest)
        self.undo()
        return self._outcome(manifest)

    def undo(self) -> None:
        """Remove the staging: of a cancelled transfer nothing else was touched."""
        soft.settle(self._to.backend, self._to.vfolder.scope, self._run.job.id)
        if self._bulk is not None:
            self._bulk.forget()
        with (
            self._context.room(self._root, self._staging.parent) as parent,
            self._context.room(self._root, self._staging) as staging,
            self._hands.at(staging),
        ):
            self._run.phase("clean up")
            with suppress(HelperHangs):  # what is removed under him he writes in vain
                self._hands.alone()
            remove_tree(parent, self._staging.name, control=self._run)

    def _make_scope(self) -> None:
        scope = self._to.vfolder.scope
        if scope is None:
            raise BackendFailed("The target of a transfer needs a quota scope.")
        try:
            self._to.backend.create_scope(scope)
        except QuotaScopeExists:
            return

    def _decide(self, manifest: Manifest) -> str:
        """How it is published: decided by the first run, kept by all others."""
        mark = manifest.last("mode")
        if mark is None:
            mark = {"mode": mode_of(self._from, self._to)}
            manifest.mark("mode", **mark)
        mode = str(mark["mode"])
        if mode == FILE and self._to.path.is_root:
            self._to = self._to.below(self._from.path.name)
        if mode == FILE and manifest.last("publish") is None:
            return KEEP if keeps_file(self._request, self._from, self._to) else FILE
        return mode

    def _obey_on_error(self, publication: Publisher) -> None:
        """Name faults from the vfolder's root; with `stop` the first one ends the job."""
        tell = self._run.on_fault
        top = self._top

        def fault(path: str, reason: str) -> None:
            if tell is not None:
                tell(f"{top}{path}", reason)
            if self._request.on_error == "stop" and not publication.begun:
                raise BackendFailed(
                    "An entry could not be done; the target is as it was.",
                    data={"missing": [f"{top}{path}: {reason}"]},
                )

        self._run.on_fault = fault

    def _transfer(self, mode: str, publication: Publisher, manifest: Manifest) -> None:
        place = self._from.parent if mode == FILE else self._from
        with ExitStack() as held:
            source = held.enter_context(place.opened())
            staging = held.enter_context(self._context.room(self._root, self._staging))
            tree, self._record = entered(held, staging, self._context, self._hands, manifest)
            staged = held.enter_context(self._context.room(self._root, self._staging / tree))
            live = held.enter_context(self._to.opened()) if mode == OVER else None
            selection = self._selection(mode, live)
            if manifest.last("publish") is None:
                facts = self._stage((source, staged), selection, mode, manifest)
                os.fsync(staged)
                manifest.mark("copied", **facts)
            if live is not None:
                self._apply_overlay((source, staged, live), publication, manifest)
            elif mode == FILE:
                publication.rename(self._from.path.name, staged, manifest)
            else:
                publication.rename(tree, staging, manifest)

    def _stage(
        self, sides: tuple[int, int], selection: Selection | None, mode: str, manifest: Manifest
    ) -> dict[str, Any]:
        """Copy into staging and verify, by the method that fits; what was done."""
        if self._bulk is None or mode != NEW:
            receipt = self._copy(sides, selection)
            if self._request.verify == "size":
                verify_staged(self._context, sides, self._request, selection)
            return self._facts(receipt)
        facts = self._bulk(self._from.vfolder.directory, self._staging / TREE, manifest)
        if facts["errors"] and self._request.on_error == "stop":
            raise BackendFailed(
                f"XCP counts {facts['errors']} errors; the target is as it was.",
                data={"errors": facts["errors"]},
            )
        if self._request.verify == "checksum" and not facts["errors"]:
            self._bulk.verify(self._from.vfolder.directory, self._staging / TREE)
        elif self._request.verify != "none":
            verify_staged(self._context, sides, self._request, selection)
        return facts | {"sure": False}

    def _apply_overlay(
        self, sides: tuple[int, int, int], publication: Publisher, manifest: Manifest
    ) -> None:
        facts = manifest.last("copied") or {}
        selection = self._selection(OVER, sides[2]) or Selection()
        options = OverlayOptions(
            selection=selection,
            drop_extra=self._request.delete_extra and facts["sure"],
            seal=self._request.on_conflict != "skip",
            effort=self._context.effort,
        )
        with self._context.room(self._root, self._staging / DISPLACED) as displaced:
            done = publication.apply_overlay(
                OverlayTrees(*sides, displaced), manifest, self._record, options
            )
        manifest.mark("laid", moved=done.moved, dropped=done.dropped, failed=done.failed)

    def _selection(self, mode: str, live: int | None) -> Selection | None:
        if mode == FILE:
            return only(self._from.path.name)
        asked_ms = int(self._run.job.fields["created_at"])
        selection = selection_of(self._request, asked_ms, live)
        return selection if live is not None or selection.restricts else None

    def _copy(self, sides: tuple[int, int], selection: Selection | None) -> Receipt:
        digest = digest_of(self._request)
        options = CopyOptions(
            effort=self._context.effort,
            digest=digest,
            verify=digest,
            selection=selection,
            root_attributes=selection is None or not selection.only,
            on_wait=self._hands.look,
        )
        self._run.on_expect = self._planned
        try:
            receipt = copy_tree(*sides, control=self._run, manifest=self._record, options=options)
        except (NoSpace, QuotaExceeded) as error:  # asked now: clean-up makes room
            raise blame(self._to.backend, self._to.vfolder.scope, error) from error
        finally:
            self._run.on_expect = None
        self._hands.alone()
        if not receipt.complete and self._request.on_error == "stop":
            raise BackendFailed(
                "Entries could not be done; the target is as it was.",
                data={"missing": [f"{p}: {why}" for p, why in receipt.missing()]},
            )
        return receipt

    def _planned(self, entries: int | None, size_bytes: int | None) -> None:
        self._run.on_expect = None
        self._check_room(size_bytes)
        if entries is not None and entries > 1:
            self._hands.call(entries, size_bytes)

    def _check_room(self, size_bytes: int | None) -> None:
        backend, scope = self._to.backend, self._to.vfolder.scope
        soft.reserve(backend, scope, self._run.job.id, size_bytes or 0)
        same = self._from.backend is backend
        if self._run.job.attempt > 1 or not size_bytes or (same and self._to.backend.reflinks()):
            return
        check_capacity(self._to.backend, size_bytes)

    def _facts(self, receipt: Receipt) -> dict[str, Any]:
        for path, words in read_notes(self._record, SkipReason.KEPT):
            self._context.note(f"{self._top}{path}", words)
        seen = {
            note.value: sum(1 for _ in read_notes(self._record, note))
            for note in (SkipReason.SAME, SkipReason.KEPT, SkipReason.EXTRA)
        }
        sure = receipt.complete and not DOUBTS & receipt.losses.keys()
        return document(receipt) | seen | {"method": "stream", "sure": sure}

    def _outcome(self, manifest: Manifest) -> Outcome:
        facts = manifest.last("copied") or {}
        size_bytes, job = int(facts.get("copied_bytes", 0)), self._run.job.id
        soft.settle(self._to.backend, self._to.vfolder.scope, job, size_bytes, once=True)
        laid = manifest.last("laid") or {"dropped": 0, "failed": 0}
        refused = bool(self._request.delete_extra and facts.get("extra") and not facts["sure"])
        whole = facts.get("complete", False) and not laid["failed"] and not refused
        result = {
            **{name: value for name, value in facts.items() if name != "sure"},
            "source": str(self._from),
            "target": str(self._to),
            "extra_removed": laid["dropped"],
            "delete_extra_refused": refused,
            "failed": laid["failed"],
        }
        return Outcome(
            sentence=f"transferred {self._from.vfolder} to {self._to.vfolder}",
            result=result,
            state=State.SUCCEEDED if whole else State.PARTIAL,
        )
