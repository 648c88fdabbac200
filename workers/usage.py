"""The verb `usage`: count what a vfolder holds, and keep the answer for those who ask quickly."""

from backends.tree import measure_tree

from core.names import VFolderId
from core.requests import UsageRequest
from core.usage import UsageBook
from workers.context import Context, Outcome


class Usage:
    """One run of a count."""

    def __init__(self, context: Context, request: UsageRequest) -> None:
        self._context = context
        self._request = request
        self._vfolder = VFolderId.parse(request.vfolder)

    def __call__(self) -> Outcome:
        """Walk the tree and store what was found with its moment."""
        self._context.run.phase("count")
        backend = self._context.backend(self._request.volume)
        with backend.open_vfolder(self._vfolder) as root:
            found = measure_tree(root, control=self._context.run)
        document = found.document()
        UsageBook(self._context.store.redis).keep(self._request.volume, self._vfolder, document)
        return Outcome(
            sentence=f"counted {found.entries:,} entries of {self._vfolder}",
            result=document,
        )

    def undo(self) -> None:
        """Nothing to undo: a count changes nothing."""
