"""The verb `usage`: count what a vfolder holds, and keep the answer for those who ask quickly."""

import time
from typing import Any

from backends.tree import Usage as TreeUsage
from backends.tree import UsageOptions, measure_tree
from core.jobs.requests import UsageRequest
from core.names import VFolderId
from core.quota import LastUsageStore
from workers.run import Context, Outcome

#: Directories at the top named with their sizes.
TOP = 20


def describe(found: TreeUsage) -> dict[str, Any]:
    """What was counted, as JSON."""
    return {
        "file_count": found.entries,
        "used_bytes": found.size_bytes,
        "allocated_bytes": found.allocated_bytes,
        "files": found.files,
        "directories": found.directories,
        "links": found.links,
        "others": found.others,
        "complete": found.complete,
        "unreadable": found.unreadable,
        "unreadable_examples": found.unreadable_named,
        "sizes": [
            {"below_bytes": 2**power if power else 1, "files": count}
            for power, count in sorted(found.histogram.items())
        ],
        "ages": [
            {"below_days": 2**power, "files": count, "bytes": size}
            for power, (count, size) in sorted(found.ages.items())
        ],
        "top": [{"name": n, "bytes": size, "files": files} for n, size, files in found.top],
    }


class CountUsage:
    """One run of a count."""

    def __init__(self, context: Context, request: UsageRequest) -> None:
        self._context = context
        self._request = request
        self._vfolder = VFolderId.parse(request.vfolder)

    def __call__(self) -> Outcome:
        """Walk the tree and store what was found with its moment."""
        self._context.run.phase("count")
        backend = self._context.backend(self._request.volume)
        root_of_volume = self._context.root(self._request.volume)
        self._context.report(root_of_volume, self._vfolder.scope, goes_on=False)
        with backend.open_vfolder(self._vfolder) as root:
            options = UsageOptions(
                histogram=True, ages_at=int(time.time()), top=TOP, effort=self._context.effort
            )
            found = measure_tree(root, control=self._context.run, options=options)
        document = describe(found)
        LastUsageStore(self._context.store.redis).keep(
            self._request.volume, self._vfolder, document
        )
        return Outcome(
            sentence=f"counted {found.entries:,} entries of {self._vfolder}",
            result=document,
        )

    def undo(self) -> None:
        """Nothing to undo: a count changes nothing."""
