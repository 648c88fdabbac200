"""The verb `transfer`: copy a vfolder, or a path in it, into another vfolder of any volume.

The steps of a run:

1. plan: look at both sides, find conflicts, check the free space and the quota
2. copy into staging
3. verify as the request says
4. publish: with one rename where the target does not exist yet, else entry by entry over the target

The target stays unchanged until the publication begins. A publication that has begun is completed,
by a later run if this one dies. The verb `clone` runs through the same steps.
"""

import os
from contextlib import ExitStack, suppress
from typing import Any

from backends.base import HasTreeClone, MountedBackend
from backends.fs import descriptors, layout
from backends.quota import blame, check_capacity, soft
from backends.transfer import (
    Endpoint,
    FileCloner,
    RemoteEndpoint,
    file_cloner,
    keeps_file,
    only,
    place_below,
    selection_of,
    tree_cloner,
)
from backends.tree import (
    Aspect,
    Change,
    CompareOptions,
    CopyOptions,
    Loss,
    OverlayOptions,
    OverlayTrees,
    Receipt,
    RemoteTree,
    Selection,
    SkipReason,
    TreeManifest,
    UsageOptions,
    copy_tree,
    measure_tree,
    read_noted,
    read_notes,
    remove_tree,
    words_of,
)
from core.errors import (
    BackendFailed,
    NodeAway,
    NoSpace,
    QuotaExceeded,
    QuotaScopeExists,
    StorageError,
    Unsupported,
)
from core.jobs import State
from core.jobs.requests import TransferRequest
from core.names import VFolderId, VFolderPath
from core.telemetry import logger
from workers.run import Context, Manifest, Outcome
from workers.verbs.transfer.facts import (
    amounts_of,
    items_of,
    joined,
    left_words,
    receipt_document,
)
from workers.verbs.transfer.helpers import (
    TREE,
    HelperHangs,
    TransferHelpers,
    abandon_shared_staging,
    enter_tree,
    record_of,
)
from workers.verbs.transfer.publish import FILE, NEW, OVER, Publisher, mode_of
from workers.verbs.transfer.source import clock_ns, opened, source_of
from workers.verbs.transfer.verify import CopyTerms, digest_of, skipped_aspects, verify_staged
from workers.verbs.transfer.xcp import BulkCopy, exports_of

_log = logger(__name__)

#: The directory in the staging that takes what an overlay displaces.
DISPLACED = "displaced"
#: The directory in the staging with the source of an overlay that another node has read.
FETCHED_TREE = "fetched"
#: The mode of a transfer that publishes nothing: the request says that the target's file stays.
KEEP = "keep"
#: What copy and verification take of a job's time, by how it verifies: checksums read again.
WEIGHTS = {"checksum": {"copy": 2.0, "verify": 1.0}, "size": {"copy": 19.0, "verify": 1.0}}
#: Losses after which the job cannot say which entries of the target are extra.
DOUBTS = frozenset({Loss.UNSETTLED, Loss.VANISHED, Loss.MOUNT})
#: What an outcome counts of the entries that were not copied.
COUNTED = (SkipReason.SAME, SkipReason.KEPT, SkipReason.EXTRA)
#: Losses that name entries of the source which the result does not have, and need not have.
NOT_IN_COPY = (Loss.APPEARED, Loss.VANISHED)


class Transfer:
    """One run of a transfer."""

    #: Whether helpers on other nodes may copy parts: they open the source as a vfolder.
    shareable = True

    def __init__(self, context: Context, request: TransferRequest) -> None:
        self._context = context
        self._run = context.run
        self._run.weigh(WEIGHTS.get(request.verify, {}))
        self._request = request
        self._source: Endpoint | RemoteEndpoint = source_of(context, request)
        self._target = Endpoint(
            context.backend(request.home),
            VFolderId.parse(request.target),
            VFolderPath.parse(request.target_path),
        )
        self._root = context.root(request.home)
        self._staging = layout.staging(self._target.vfolder.scope, self._run.job.id)
        exports = None
        if request.is_complete and isinstance(self._source, Endpoint):
            exports = exports_of(self._source, self._target)
        self._bulk = BulkCopy(context, exports) if exports else None
        self._helpers = TransferHelpers(context, request)
        self._top = "" if self._source.path.is_root else f"{self._source.path}/"
        self._since: int | None = None
        #: What an overlay copied from another node first.
        self._fetched: dict[str, Any] | None = None
        self._changed_since = 0
        self._replaced_bytes = 0
        self._clones_files = False

    def __call__(self) -> Outcome:
        """Do the steps that are left."""
        self._make_scope()
        scope = self._target.vfolder.scope
        manifest = self._context.manifest(self._root, scope)
        self._context.report(self._root, scope, continues=True)
        self._since = self._began(manifest)
        mode = self._choose_mode(manifest)
        if mode == KEEP:
            result = {"kept": 1, "target": str(self._target)}
            sentence = "transferred nothing: the target's file stays, as requested"
            return Outcome(sentence, result, State.PARTIAL, items=0, size_bytes=0)
        publisher = Publisher(self._context, self._target, mode)
        if not self._is_done(publisher, manifest):
            self._obey_on_error(publisher)
            self._copy_and_publish(mode, publisher, manifest)
        self._clear(manifest)
        return self._outcome(manifest)

    def _is_done(self, publisher: Publisher, manifest: Manifest) -> bool:
        return publisher.done(manifest)

    def _began(self, manifest: Manifest) -> int | None:
        """Return when the first run began, by the clock of the source; None for a strict job."""
        return None if self._request.strict else self._moment(manifest)

    def _moment(self, manifest: Manifest) -> int:
        mark = manifest.last("began")
        if mark is None:
            mark = {"ns": clock_ns(self._context, self._source, self._request.volume)}
            manifest.mark("began", **mark)
        return int(mark["ns"])

    def undo(self) -> None:
        """Remove the staging. A cancelled transfer changed nothing else."""
        soft.settle(self._target.backend, self._target.vfolder, self._run.job.id)
        self._run.phase("clean up")
        self._remove_staging()

    def _clear(self, manifest: Manifest) -> None:  # noqa: ARG002 - a move has more to do
        """Remove what the publication left of the staging."""
        self._run.phase("clean up")
        self._try_to_remove_staging()

    def _try_to_remove_staging(self) -> None:
        """Remove the staging, or leave it to the sweep: the result is published all the same."""
        try:
            self._remove_staging()
        except (OSError, StorageError) as error:
            _log.warning("staging left to the sweep", reason=type(error).__name__)

    def _remove_staging(self) -> None:
        if self._bulk is not None:
            self._bulk.forget()
        with (
            suppress(FileNotFoundError),
            descriptors.opened(self._staging.parent, self._root) as parent,
        ):
            with descriptors.opened(self._staging.name, parent) as staging:
                with self._helpers.share(staging):
                    # A hung helper may still write into a tree that is deleted: no harm is done.
                    with suppress(HelperHangs):
                        self._helpers.exclude()
                    for name in self._helpers.staged_names(staging):
                        remove_tree(staging, name, control=self._run)
                # The lock files go last, after they are closed: NFS and FUSE rename a file that is
                # deleted while it is open, and its directory stays with it.
                self._helpers.close_off(staging)
            os.rmdir(self._staging.name, dir_fd=parent)

    def _make_scope(self) -> None:
        scope = self._target.vfolder.scope
        if scope is None:
            raise BackendFailed("The target needs a quota scope.")
        try:
            self._target.backend.create_scope(scope)
        except QuotaScopeExists:
            return

    def _choose_mode(self, manifest: Manifest) -> str:
        """Return how the result is published: the first run decides, all others keep to it."""
        mark = manifest.last("mode")
        if mark is None:
            mark = {"mode": mode_of(self._source, self._target)}
            manifest.mark("mode", **mark)
        mode = str(mark["mode"])
        if mode == FILE and self._target.path.is_root:
            self._target = self._target.below(self._source.path.name)
        if mode == FILE and manifest.last("publish") is None:
            return KEEP if self._keeps_file() else FILE
        return mode

    def _keeps_file(self) -> bool:
        return keeps_file(self._request, self._source, self._target)

    def _obey_on_error(self, publisher: Publisher) -> None:
        """Name faults by their path from the vfolder's root; with `stop` the first ends the job."""
        report = self._run.on_fault
        top = self._top

        def fault(path: str, reason: str) -> None:
            if report is not None:
                report(f"{top}{path}", reason)
            if self._request.on_error == "stop" and not publisher.begun:
                raise BackendFailed(
                    "An entry could not be copied. The target is unchanged.",
                    data={"missing": [f"{top}{path}: {reason}"]},
                )

        self._run.on_fault = fault

    def _copy_and_publish(self, mode: str, publisher: Publisher, manifest: Manifest) -> None:
        while True:
            try:
                self._copy_in_tree(mode, publisher, manifest)
            except HelperHangs as why:
                _log.warning("staged tree left", reason=str(why))
                abandon_shared_staging(manifest)
            except NodeAway:
                self._source.status()  # which waits until a node of the source answers
            else:
                return

    def _copy_in_tree(self, mode: str, publisher: Publisher, manifest: Manifest) -> None:
        """Copy into the tree that the manifest names, and publish it."""
        made = self._context.hidden_directory
        with ExitStack() as held:
            self._replaced_bytes = self._target.freed_bytes() if mode == FILE else 0
            source = opened(self._source.parent if mode == FILE else self._source, held)
            staging = held.enter_context(made(self._root, self._staging))
            tree, self._record = enter_tree(held, staging, self._context, self._helpers, manifest)
            cloned = (
                mode == NEW
                and isinstance(source, int)
                and self._clone_whole((source, staging), tree, manifest)
            )
            staged = held.enter_context(made(self._root, self._staging / tree))
            live = held.enter_context(self._target.opened()) if mode == OVER else None
            if live is not None and isinstance(source, RemoteTree):
                source = self._fetch((source, live), staging, held, manifest)
            selection = self._selection(mode, live)
            if manifest.last("publish") is None:
                sides = source, staged
                if cloned:
                    self._verify_whole(sides, selection)
                    facts = self._facts_of_clone()
                else:
                    facts = self._stage(sides, selection, mode, manifest)
                manifest.mark("copied", **facts)
            if live is not None and isinstance(source, int):
                self._lay_over((source, staged, live), publisher, manifest)
            elif mode == FILE:
                publisher.rename(self._source.path.name, staged, manifest)
            else:
                publisher.rename(tree, staging, manifest)

    def _fetch(
        self,
        trees: tuple[RemoteTree, int],
        staging: int,
        held: ExitStack,
        manifest: Manifest,
    ) -> int:
        """Copy the source of an overlay from another node into the staging; return a descriptor.

        What is in the target decides what is copied, and both trees are compared many times. So
        the overlay works on a copy of the source, beside its target. A file that the target has
        with equal length and time is not sent again.
        """
        remote, live = trees
        tree = held.enter_context(
            self._context.hidden_directory(self._root, self._staging / FETCHED_TREE)
        )
        self.shareable = False
        if manifest.last("fetched") is None:
            kept, self._record = self._record, TreeManifest.open(staging, record_of(FETCHED_TREE))
            held.callback(self._record.close)
            # What the rules exclude is no extra entry, so they have to see it.
            selection = None if self._request.delete_extra else self._selection(NEW, None)
            receipt = self._copy((remote, tree), selection, near=live)
            self._verify((remote, tree), selection)
            manifest.mark("fetched", **self._facts(receipt))
            self._record = kept
        self._fetched, self._since, self._changed_since = manifest.last("fetched"), None, 0
        return tree

    def _stage(
        self,
        sides: tuple[int | RemoteTree, int],
        selection: Selection | None,
        mode: str,
        manifest: Manifest,
    ) -> dict[str, Any]:
        """Copy into staging and verify, by the method that fits; return what was done."""
        if self._bulk is None or mode != NEW:
            receipt = self._copy(sides, selection)
            self._verify(sides, selection)
            return self._facts(receipt)
        facts = self._bulk(self._source.vfolder.directory, self._staging / TREE, manifest)
        if facts["errors"] and self._request.on_error == "stop":
            raise BackendFailed(
                f"XCP counts {facts['errors']} errors. The target is unchanged.",
                data={"errors": facts["errors"]},
            )
        if self._request.verify == "checksum" and not facts["errors"]:
            self._bulk.verify(self._source.vfolder.directory, self._staging / TREE)
        else:
            self._verify_whole(sides, selection)
        return facts | {"sure": False, "changed_since": self._changed_since}

    def _clone_whole(self, sides: tuple[int, int], tree: str, manifest: Manifest) -> bool:
        """Clone the complete source into the staging by one call, where the storage system can.

        A run that died in the call left nothing or a part, which goes first. A tree that a run
        began to copy stays.
        """
        if manifest.last("cloned") is not None:
            return True
        source, staging = sides
        backend = self._source_backend
        if backend is None:
            return False
        place = place_below(backend, source)
        cloner = self._tree_cloner(backend)
        begun = manifest.last("cloning")
        if cloner is None or place is None or (begun or {}).get("refused"):
            return False
        if tree in descriptors.names(".", staging):
            if begun is None:
                return False
            remove_tree(staging, tree, control=self._run)
        self._run.phase("copy")
        manifest.mark("cloning")
        try:
            cloner.clone_tree(place, self._staging / tree)
        except Unsupported as refusal:
            _log.info("the vfolder is copied, not cloned", reason=refusal.detail)
            manifest.mark("cloning", refused=True)
            return False
        manifest.mark("cloned")
        return True

    def _tree_cloner(self, source: MountedBackend) -> HasTreeClone | None:
        """Return what clones whole vfolders here; a ledger of ours needs the sums of a copy."""
        backend = self._target.backend
        if not self._request.is_complete or soft.is_counted(backend, self._target.vfolder):
            return None
        return tree_cloner(source, backend)

    def _facts_of_clone(self) -> dict[str, Any]:
        return {
            "method": "clone",
            "complete": True,
            "changed_since": self._changed_since,
            "sure": False,
        }

    def _verify_whole(
        self, sides: tuple[int | RemoteTree, int], selection: Selection | None
    ) -> None:
        """Compare a tree that another program or the storage system made with its source."""
        if self._request.verify != "none":
            skip = skipped_aspects(self._request, selection)
            options = self._compare_options(skip, digest_of(self._request.verify))
            verify_staged(self._context, sides, self._terms(), options)

    def _verify(self, sides: tuple[int | RemoteTree, int], selection: Selection | None) -> None:
        """Compare the staged tree with its source; `_copy` has compared checksums already."""
        if self._request.verify == "size":
            options = self._compare_options(skipped_aspects(self._request, selection))
            verify_staged(self._context, sides, self._terms(), options)

    def _compare_options(
        self, skip: frozenset[Aspect], digest: str | None = None, *, from_disk: bool = True
    ) -> CompareOptions:
        return CompareOptions(
            digest=digest,
            skip=skip,
            from_disk=from_disk,
            since_ns=self._since,
            effort=self._context.effort,
        )

    def _terms(self) -> CopyTerms:
        return CopyTerms(self._since, self._record, self._note_change)

    def _note_change(self, change: Change) -> None:
        """Count and name an entry of the source that changed after it was copied."""
        self._changed_since += 1
        self._context.note(f"{self._top}{change.path}", words_of(change))

    def _changes(self, receipt: Receipt) -> dict[str, int]:
        """Name in the report what the copy met otherwise than planned; return the counts."""
        for _, path, words in read_noted(self._record):
            self._context.note(f"{self._top}{path}", words)
        later = receipt.losses.get(Loss.CHANGED_SINCE, 0)
        return {
            "changed": receipt.losses.get(Loss.AS_MET, 0),
            "changed_since": self._changed_since + later,
            "not_in_copy": sum(receipt.losses.get(loss, 0) for loss in NOT_IN_COPY),
        }

    def _lay_over(
        self, sides: tuple[int, int, int], publisher: Publisher, manifest: Manifest
    ) -> None:
        facts = manifest.last("copied") or {}
        selection = self._selection(OVER, sides[2]) or Selection()
        options = OverlayOptions(
            selection=selection,
            drop_extra=self._request.delete_extra and facts["sure"],
            seal=self._request.on_conflict != "skip",
            effort=self._context.effort,
        )
        with self._context.hidden_directory(self._root, self._staging / DISPLACED) as displaced:
            trees = OverlayTrees(*sides, displaced)
            done = publisher.lay_over(trees, manifest, self._record, options)
            removed = self._displaced_bytes(displaced)
        counts = {"moved": done.moved, "dropped": done.dropped, "failed": done.failed}
        manifest.mark("laid", **counts, removed_bytes=removed)

    def _displaced_bytes(self, displaced: int) -> int:
        """Return what the entries hold that the target lost; 0 where no ledger needs it."""
        if not soft.is_counted(self._target.backend, self._target.vfolder):
            return 0
        options = UsageOptions(effort=self._context.effort)
        return measure_tree(displaced, control=self._run, options=options).size_bytes

    def _selection(self, mode: str, live: int | None) -> Selection | None:
        if mode == FILE:
            return only(self._source.path.name)
        requested_ms = int(self._run.job.fields["created_at"])
        selection = selection_of(self._request, requested_ms, live)
        return selection if live is not None or selection.restricts else None

    def _copy(
        self,
        sides: tuple[int | RemoteTree, int],
        selection: Selection | None,
        near: int | None = None,
    ) -> Receipt:
        digest = digest_of(self._request.verify)
        cloner = self._file_cloner(sides)
        self._clones_files = cloner is not None
        options = CopyOptions(
            clone_file=cloner,
            near=near,
            effort=self._context.effort,
            digest=digest,
            verify=digest,
            selection=selection,
            root_attributes=selection is None or not selection.only,
            on_wait=self._helpers.look,
            on_planned=self._planned,
            since_ns=self._since,
        )
        try:
            receipt = copy_tree(*sides, control=self._run, manifest=self._record, options=options)
        except (NoSpace, QuotaExceeded) as error:  # find the cause before clean-up frees space
            scope = self._target.vfolder.scope
            raise blame(self._target.backend, scope, error) from error
        self._helpers.exclude()
        if not receipt.complete and self._request.on_error == "stop":
            raise BackendFailed(
                "Entries could not be copied: the storage failed, or they kept changing. The "
                "target is unchanged.",
                data={"missing": [f"{path}: {why}" for path, why in receipt.missing()]},
            )
        return receipt

    def _planned(self, entries: int, size_bytes: int, replaced_bytes: int) -> None:
        """Check the free space once the plan is made, and call helpers for a big copy."""
        self._replaced_bytes += replaced_bytes
        shares = self._shares_extents()
        self._check_free_space(size_bytes, copied=not shares)
        if self.shareable and entries > 1:
            self._helpers.call(entries, 0 if shares else size_bytes)

    @property
    def _source_backend(self) -> MountedBackend | None:
        """The volume that the copy reads; None while another node reads it."""
        if self._fetched is not None:
            return self._target.backend
        return self._source.backend if isinstance(self._source, Endpoint) else None

    def _file_cloner(self, sides: tuple[int | RemoteTree, int]) -> FileCloner | None:
        source, backend = sides[0], self._source_backend
        if backend is None or not isinstance(source, int):
            return None
        return file_cloner(backend, self._target.backend, (source, sides[1]))

    def _shares_extents(self) -> bool:
        """Whether source and target share the blocks of big files, so that few bytes are copied."""
        backend = self._target.backend
        return self._clones_files or (self._source_backend is backend and backend.reflinks())

    def _check_free_space(self, size_bytes: int, *, copied: bool) -> None:
        """Reserve what the scope gains. The volume holds old and new files for a while."""
        if not size_bytes:
            return
        backend = self._target.backend
        net_bytes = max(0, size_bytes - self._replaced_bytes)
        soft.reserve(backend, self._target.vfolder, self._run.job.id, net_bytes)
        if copied and self._run.job.attempt == 1:  # later runs find a part of it on the volume
            check_capacity(backend, size_bytes)

    def _facts(self, receipt: Receipt) -> dict[str, Any]:
        seen = dict.fromkeys(COUNTED, 0)
        for reason, path, words in read_notes(self._record, *COUNTED):
            seen[reason] += 1
            if reason is SkipReason.KEPT:
                self._context.note(f"{self._top}{path}", words)
        sure = receipt.complete and not DOUBTS & receipt.losses.keys()
        facts = receipt_document(receipt) | self._changes(receipt)
        noted = {reason.value: count for reason, count in seen.items()}
        noted["replaced_bytes"] = self._replaced_bytes
        facts |= noted | {"method": "stream", "sure": sure}
        return facts if self._fetched is None else joined(facts, self._fetched)

    def _settle_quota(self, facts: dict[str, Any]) -> None:
        """Release the reserved space, and count once what the scope gained, or lost."""
        gained = int(facts.get("copied_bytes", 0))
        lost = int(facts.get("replaced_bytes", 0)) + int(facts.get("removed_bytes", 0))
        vfolder, job = self._target.vfolder, self._run.job
        since_ms = job.started_ms if gained < lost else None
        soft.settle(self._target.backend, vfolder, job.id, gained - lost, since_ms=since_ms)

    def _outcome(self, manifest: Manifest) -> Outcome:
        facts = manifest.last("copied") or {}
        laid = manifest.last("laid") or {"dropped": 0, "failed": 0}
        self._settle_quota(facts | {"removed_bytes": laid.get("removed_bytes", 0)})
        refused = bool(self._request.delete_extra and facts.get("extra") and not facts["sure"])
        complete = facts.get("complete", False) and not laid["failed"] and not refused
        result = {
            **{name: value for name, value in facts.items() if name != "sure"},
            "source": str(self._source),
            "target": str(self._target),
            "extra_removed": laid["dropped"],
            "delete_extra_refused": refused,
            "failed": laid["failed"],
        }
        made = facts
        if "moved" in laid:  # over an existing tree: the target had some of the directories before
            names = (facts.get(kind, 0) for kind in ("files", "hard_links", "links"))
            made = facts | {"directories": max(laid["moved"] - sum(names), 0)}
        done = items_of(made) != 0 or laid["dropped"] or facts.get("same")
        nothing = not done and (self._request.selects or bool(facts.get("kept")))
        return Outcome(
            sentence=self._sentence(made, result, nothing=nothing),
            result=result,
            state=State.SUCCEEDED if complete and not nothing else State.PARTIAL,
            items=items_of(made),
            size_bytes=facts.get("copied_bytes"),
        )

    def _sentence(self, made: dict[str, Any], result: dict[str, Any], *, nothing: bool) -> str:
        missed = self._run.progress.fault_count
        left = left_words(result, missed, nothing=nothing)
        amounts = amounts_of(made)
        size_bytes = result.get("copied_bytes")
        done = self._run.summary("transferred", *amounts, size_bytes=size_bytes)
        if result.get("method") == "clone":
            done, amounts = "the storage system cloned the vfolder", ["a vfolder"]
        none = "transferred nothing" if left else "transferred an empty directory"
        return "; ".join([done if amounts else none, *left])
