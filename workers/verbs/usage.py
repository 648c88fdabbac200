"""The verb `usage`: count what a vfolder holds, and store the answer for quick look-ups."""

import time
from typing import Any

from backends.quota import begin_count
from backends.tree import Usage as TreeUsage
from backends.tree import UsageOptions, measure_tree
from core.jobs import State
from core.jobs.requests import UsageRequest
from core.names import VFolderId, counted
from core.quota import LastUsageStore
from workers.run import Context, Outcome

#: Directories at the top that the result names with their sizes, at most.
TOP = 20


def usage_document(usage: TreeUsage) -> dict[str, Any]:
    """Return what was counted, as JSON."""
    return {
        "file_count": usage.entries,
        "used_bytes": usage.size_bytes,
        "allocated_bytes": usage.allocated_bytes,
        "files": usage.files,
        "directories": usage.directories,
        "links": usage.links,
        "others": usage.others,
        "complete": usage.complete,
        "unreadable": usage.unreadable,
        "unreadable_examples": usage.unreadable_named,
        "sizes": [
            {"below_bytes": 2**power if power else 1, "files": count}
            for power, count in sorted(usage.histogram.items())
        ],
        "ages": [
            {"below_days": 2**power, "files": count, "bytes": size}
            for power, (count, size) in sorted(usage.ages.items())
        ],
        "top": [{"name": n, "bytes": size, "files": files} for n, size, files in usage.top],
    }


class CountUsage:
    """One run of a count."""

    def __init__(self, context: Context, request: UsageRequest) -> None:
        self._context = context
        self._request = request
        self._vfolder = VFolderId.parse(request.vfolder)

    def __call__(self) -> Outcome:
        """Walk the tree, and store the result with its time."""
        self._context.run.phase("count")
        backend = self._context.backend(self._request.volume)
        root_of_volume = self._context.root(self._request.volume)
        self._context.report(root_of_volume, self._vfolder.scope, continues=False)
        count = begin_count(backend, self._vfolder)
        with backend.open_vfolder(self._vfolder) as root:
            options = UsageOptions(
                histogram=True, ages_at=int(time.time()), top=TOP, effort=self._context.effort
            )
            usage = measure_tree(root, control=self._context.run, options=options)
        if count is not None and usage.complete:
            count.end(usage.size_bytes)
        return self._ended_with(usage)

    def _ended_with(self, usage: TreeUsage) -> Outcome:
        """Store what was counted for quick look-ups, and return the outcome."""
        document = usage_document(usage)
        figures = LastUsageStore(self._context.store.redis)
        self._context.run.patiently(
            lambda: figures.keep(self._request.volume, self._vfolder, document)
        )
        amounts = [counted(usage.entries, "entry", "entries")]
        if usage.unreadable:
            unread = counted(usage.unreadable, "entry", "entries")
            amounts.append(f"all but {unread} that cannot be read")
        return Outcome(
            sentence=self._context.run.summary("counted", *amounts, size_bytes=usage.size_bytes),
            result=document,
            state=State.SUCCEEDED if usage.complete else State.PARTIAL,
            items=usage.entries,
            size_bytes=usage.size_bytes,
        )

    def undo(self) -> None:
        """Undo nothing: a count changes nothing."""
