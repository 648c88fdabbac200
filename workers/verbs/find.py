"""The verb `find`: look for entries of a vfolder. The report names all of them, the result some."""

from typing import Any

from backends.entries.search import FoundEntry, found_below, terms_of
from core.jobs import Counter, State
from core.jobs.requests import FindRequest
from core.names import VFolderId, VFolderPath, counted
from workers.run import Context, Outcome

#: Entries that the result has.
SHOWN_MAX = 1000


class FindEntries:
    """One run of a search; it begins again after a death, and empties the report then."""

    def __init__(self, context: Context, request: FindRequest) -> None:
        self._context = context
        self._run = context.run
        self._request = request
        self._vfolder = VFolderId.parse(request.vfolder)
        self._unread = 0

    def __call__(self) -> Outcome:
        """Walk the tree; what is found is in the report in the order of paths."""
        request = self._request
        self._run.phase("find")
        root_of_volume = self._context.root(request.volume)
        self._context.report(root_of_volume, self._vfolder.scope, continues=False)
        shown: list[dict[str, Any]] = []
        found = 0
        path = VFolderPath.parse(request.path)
        with self._context.backend(request.volume).open_vfolder(self._vfolder) as root:
            for entry in found_below(root, path, terms_of(request), self._run, self._unreadable):
                self._run.count(Counter.LISTED, 1)
                if entry is None:
                    continue
                found += 1
                self._context.note(entry.path, "found")
                if found <= SHOWN_MAX:
                    shown.append(_document(entry))
        left = f"; {counted(self._unread, 'directory', 'directories')} not read"
        return Outcome(
            sentence=self._run.summary(f"found {counted(found, 'entry', 'entries')}")
            + (left if self._unread else ""),
            result={"found": found, "entries": shown, "unreadable": self._unread},
            state=State.PARTIAL if self._unread else State.SUCCEEDED,
            items=found,
            size_bytes=0,
        )

    def undo(self) -> None:
        """Undo nothing: a search changes nothing."""

    def _unreadable(self, path: str, reason: str) -> None:
        self._unread += 1
        self._run.fault(path, reason)


def _document(entry: FoundEntry) -> dict[str, Any]:
    return {
        "path": entry.path,
        "kind": entry.kind,
        "size_bytes": entry.size_bytes,
        "modified_at": entry.modified_at,
    }
