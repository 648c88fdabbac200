"""The verb `clone`: make a vfolder that equals another.

A clone is a transfer of a complete vfolder to one that does not exist yet. It promises more than a
transfer, so three things differ:

* Each attribute is compared with the source, not only what holds data. With checksums, both trees
  are read after the copy: the pages of a copy within one volume are mostly still in memory.
* A clone never uses XCP, which does not report what it could not keep.
* A fault does not end the copy at once, so that the report lists every entry that failed. The
  clone fails afterwards: its target is complete or absent, verified or not.
"""

from backends.entries import access_files
from backends.fs import descriptors, layout
from backends.tree import Receipt, RemoteTree, Selection, remove_tree
from core.errors import VFolderExists
from core.jobs.requests import CloneRequest
from workers.run import Context, Manifest, Outcome
from workers.verbs.transfer import (
    Transfer,
    amounts_of,
    clone_as_transfer,
    clone_staging,
    items_of,
    receipt_document,
)
from workers.verbs.transfer.publish import NEW, Publisher, is_published
from workers.verbs.transfer.verify import digest_of, verify_staged


class Clone(Transfer):
    """One run of a clone."""

    def __init__(self, context: Context, request: CloneRequest) -> None:
        super().__init__(context, clone_as_transfer(request))
        self._level = request.verify
        self._staging = clone_staging(self._target.vfolder.scope, self._run.job.id)
        self._bulk = None

    def undo(self) -> None:
        """Remove the staging of a cancelled clone; the target never existed."""
        super().undo()
        self._remove_former_staging()

    def _clear(self, manifest: Manifest) -> None:  # noqa: ARG002 - see `Transfer._clear`
        """Remove the helpers' locks and the record: no phase, the tree was renamed away."""
        self._try_to_remove_staging()

    def _choose_mode(self, manifest: Manifest) -> str:
        """Return the one mode of a clone: a new directory.

        Raises:
            VFolderExists: the target exists and no run of this job made it.
        """
        if not is_published(self._target, manifest):
            self._remove_former_staging(manifest)
            if descriptors.exists(self._target.vfolder.directory, self._root):
                raise VFolderExists(f"The vfolder {self._target} is already there.")
            access_files.drop(self._target.backend, self._target.vfolder)
        return NEW

    def _remove_former_staging(self, manifest: Manifest | None = None) -> None:
        """Remove what an earlier version staged for this job, so that the clone begins again.

        Versions up to 0.1.0 staged the tree itself at this path, without a directory around it,
        and recorded the copy in the job's manifest.
        """
        former = layout.staging(self._target.vfolder.scope, self._run.job.id)
        if self._run.job.attempt == 1 or not descriptors.exists(former, self._root):
            return
        if manifest is not None:
            manifest.clear()
        with descriptors.opened(former.parent, self._root) as parent:
            remove_tree(parent, former.name, control=self._run)

    def _obey_on_error(self, publisher: Publisher) -> None:
        """Copy on after a fault; an incomplete copy fails at its end."""

    def _verify(self, sides: tuple[int | RemoteTree, int], selection: Selection | None) -> None:  # noqa: ARG002 - a clone selects nothing
        """Compare every attribute, and by checksums every byte if the request says so."""
        if self._level != "none":
            options = self._compare_options(frozenset(), digest_of(self._level), from_disk=False)
            verify_staged(self._context, sides, self._terms(), options)

    def _verify_whole(
        self, sides: tuple[int | RemoteTree, int], selection: Selection | None
    ) -> None:
        """See `Transfer._verify_whole`: as every clone."""
        self._verify(sides, selection)

    def _facts(self, receipt: Receipt) -> dict[str, object]:
        return receipt_document(receipt) | self._changes(receipt)

    def _outcome(self, manifest: Manifest) -> Outcome:
        facts = manifest.last("copied") or {}
        self._settle_quota(facts)
        source, target = str(self._source.vfolder), str(self._target.vfolder)
        size_bytes = facts.get("copied_bytes")
        amounts = amounts_of(facts) or ["an empty vfolder"]
        sentence = self._run.summary("cloned", *amounts, size_bytes=size_bytes)
        if facts.get("method") == "clone":
            sentence = f"the storage system cloned {source}"
        return Outcome(
            sentence=sentence,
            result={"source": source, "target": target, **facts},
            items=items_of(facts),
            size_bytes=size_bytes,
        )
