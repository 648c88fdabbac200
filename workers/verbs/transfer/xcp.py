"""Copy a transfer with XCP, from export to export: no byte passes through our mounts.

Staging, verification by size and publication are those of every transfer.
"""

from pathlib import PurePosixPath
from typing import Any

from backends.transfer import Endpoint
from backends.transfer.xcp import Export, IndexLost, Summary, Xcp, XcpKilled, exported
from core.errors import CopyDiffers
from workers.run import Context, Manifest

#: How often one run resumes a copy after XCP was killed.
RESUMES_MAX = 3


def exports_of(source: Endpoint, target: Endpoint) -> tuple[Export, Export] | None:
    """Return both sides as XCP names them; None when XCP does not serve one of them."""
    sides = exported(source.backend), exported(target.backend)
    return (sides[0], sides[1]) if sides[0] and sides[1] else None


class BulkCopy:
    """What one run does of a copy with XCP."""

    def __init__(self, context: Context, exports: tuple[Export, Export]) -> None:
        self._run = context.run
        self._exports = exports
        self._xcp = Xcp(
            exports[1].command, catalog=exports[1].catalog, keep_fds=context.effort.fence
        )
        self._index = f"vfolder-{self._run.job.id}"

    def __call__(
        self, source: PurePosixPath, target: PurePosixPath, manifest: Manifest
    ) -> dict[str, Any]:
        """Copy a directory of one volume to a directory of the other; return what XCP counted.

        Raises:
            Interrupted: the job has to stop; no process of XCP is left.
            StorageError: XCP failed, or did not prove that it succeeded.
        """
        self._run.phase("plan")
        self._xcp.license(self._run)
        self._run.phase("copy")
        names = self._exports[0].name(source), self._exports[1].name(target)
        summary = self._copied(names, manifest)
        return {
            "method": "xcp",
            "scanned": summary.counts.get("scanned"),
            "copied": summary.counts.get("copied"),
            "errors": summary.errors,
            "complete": not summary.errors,
        }

    def _copied(self, names: tuple[str, str], manifest: Manifest) -> Summary:
        for _ in range(RESUMES_MAX):
            try:
                return self._attempt(names, manifest)
            except XcpKilled:
                self._run.check()
            except IndexLost:  # XCP skips what the target has already
                manifest.mark("xcp", begun=False)
        return self._attempt(names, manifest)

    def _attempt(self, names: tuple[str, str], manifest: Manifest) -> Summary:
        if (manifest.last("xcp") or {}).get("begun"):
            return self._xcp.resume(self._index, self._run)
        manifest.mark("xcp", begun=True)
        return self._xcp.copy(*names, self._index, self._run)

    def verify(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Have XCP read both sides and compare them.

        Raises:
            BackendFailed: entries differ.
        """
        self._run.phase("verify")
        names = self._exports[0].name(source), self._exports[1].name(target)
        index = f"{self._index}-verify"
        result = self._xcp.verify(*names, index, self._run)
        self._xcp.forget(index)
        if result.different or result.errors:
            raise CopyDiffers(
                "The copy differs from its source, which may have changed meanwhile; try again.",
                data={"different": result.different, "errors": result.errors},
            )

    def forget(self) -> None:
        """Remove the job's index from the catalog."""
        self._xcp.forget(self._index)
