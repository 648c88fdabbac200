"""The commands of XCP that the service uses, and what their failures mean.

Callers never see the output of XCP: it may name hosts and paths.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backends.transfer.xcp.reading import Summary, Tally
from backends.transfer.xcp.running import XcpProcess
from core.errors import BackendFailed, HelperDied, NoSpace, QuotaExceeded, StorageError
from core.jobs import Control, Counter, Unattended
from core.telemetry import logger

_log = logger(__name__)

#: The directory of the indexes in the catalog.
_INDEXES = "catalog/indexes"
_KILLED = -9

#: What XCP prints when it cannot work at all, and what the operator must do.
_REFUSALS: tuple[tuple[tuple[str, ...], type[StorageError], str], ...] = (
    (
        ("must run as root",),
        BackendFailed,
        "XCP has to run as root: run the worker as root, or begin netapp_xcp_cmd with sudo.",
    ),
    (
        ("not activated", "License file"),
        BackendFailed,
        "XCP has no license: put one from the vendor beside xcp.ini and run `xcp activate`.",
    ),
    (
        ("license has expired",),
        BackendFailed,
        "The license of XCP has expired: run `xcp license update`, or fetch a new one.",
    ),
    (
        ("License unreadable",),
        BackendFailed,
        "The license of XCP cannot be read: fetch it again and run `xcp activate`.",
    ),
    (
        ("Catalog inaccessible",),
        BackendFailed,
        "XCP cannot reach its catalog: the export in xcp.ini must take writes of root from here.",
    ),
    (
        ("mnt3 error 13",),
        BackendFailed,
        "The storage lets this node not mount the export: add it, as root, to its export policy.",
    ),
    (("nfs3 error 28",), NoSpace, "The volume is full."),
    (("nfs3 error 69",), QuotaExceeded, "The quota scope is full."),
    (("invalid path",), BackendFailed, "XCP does not know the export; see netapp_volume_name."),
)


class XcpKilled(HelperDied):
    """XCP, or one of its processes, was killed; it can resume from its index."""

    title = "XCP was killed"


class IndexLost(BackendFailed):
    """The index to resume from is empty, damaged, or from another version."""


@dataclass(frozen=True, slots=True)
class License:
    """The license as XCP reports it."""

    kind: str | None
    status: str | None
    until: str | None


class Xcp:
    """The tool; each call is one child process.

    `keep_fds` (the job's fence) stay open in every child. So the next run waits until the child has
    ended.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        catalog: str | None = None,
        keep_fds: Sequence[int] = (),
    ) -> None:
        self._command = list(command)
        self._catalog = catalog
        self._keep = tuple(keep_fds)

    def license(self, control: Control | None = None) -> License:
        """Check that the tool is installed and licensed.

        Raises:
            BackendFailed: XCP is not installed, not licensed, or its license has expired. The text
            says
                what to do.
        """
        if shutil.which(self._command[0]) is None:
            raise BackendFailed(
                "XCP was not found: install it, or name it in netapp_xcp_cmd (a list of words)."
            )
        summary = Summary()
        status = self._run(["license"], "license", control or Unattended(), summary.read)
        facts = dict(_pairs(summary))
        found = License(facts.get("License type"), facts.get("License status"), _until(summary))
        if status != 0 or found.status != "ACTIVE":
            raise refusal(summary, status) or BackendFailed(
                "XCP does not call its license active: run `xcp license` and see."
            )
        return found

    def copy(self, source: str, target: str, index: str, control: Control) -> Summary:
        """Copy a tree; the index of this name makes it possible to resume.

        Raises:
            Interrupted: the control says stop.
            StorageError: as `judged`.
        """
        return self._judged(["copy", "-newid", index, source, target], index, control)

    def resume(self, index: str, control: Control) -> Summary:
        """Resume a copy that was stopped.

        Raises:
            IndexLost: there is no usable index.
            StorageError: as `judged`.
        """
        return self._judged(["resume", "-id", index], index, control)

    def sync(self, index: str, control: Control) -> Summary:
        """Copy what changed since an earlier copy to its target.

        Raises:
            StorageError: as `judged`.
        """
        return self._judged(["sync", "-id", index], index, control)

    def verify(self, source: str, target: str, index: str, control: Control) -> Summary:
        """Compare two trees byte by byte; `different` counts the entries that differ.

        Raises:
            StorageError: as `judged`, but not for differing entries.
        """
        return self._judged(["verify", "-newid", index, source, target], index, control)

    def scan(self, path: str, control: Control) -> Summary:
        """Count the entries below a path; no index remains.

        Raises:
            StorageError: as `judged`.
        """
        return self._judged(["scan", "-noId", path], "scan", control)

    def forget(self, index: str) -> bool:
        """Remove an index from the catalog; return whether it is gone."""
        if self._catalog is None:
            return False
        path = f"{self._catalog.rstrip('/')}/{_INDEXES}/{index}"
        summary = Summary()
        try:
            words = ["delete", "-force", "-removetopdir", path]
            status = self._run(words, f"{index}-forget", Unattended(), summary.read)
        except (OSError, StorageError) as error:
            _log.warning("index left in the catalog", reason=type(error).__name__)
            return False
        return status == 0 and summary.status == "PASSED"

    def _judged(self, words: list[str], index: str, control: Control) -> Summary:
        summary = Summary()
        counting = _Counting(summary, control)
        status = self._run(words, index, control, counting)
        _log.info("xcp ended", command=words[0], status=status, said=summary.status)
        return judged(summary, status)

    def _run(
        self, words: list[str], index: str, control: Control, hear: Callable[[str], object]
    ) -> int:
        name = f"vfolder-xcp-{index}"
        try:
            child = XcpProcess([*self._command, *words], name, self._keep)
        except OSError as error:
            raise BackendFailed(
                "XCP cannot be started: install it, or name it in netapp_xcp_cmd."
            ) from error
        return child.run(control, lambda line: (hear(line), None)[1])


class _Counting:
    """Turn XCP's running totals into the difference since the last line."""

    def __init__(self, summary: Summary, control: Control) -> None:
        self._summary = summary
        self._control = control
        self._items = self._bytes = 0

    def __call__(self, line: str) -> None:
        output = self._summary.read(line)
        if output is not None:
            self._count(output)

    def _count(self, output: Tally) -> None:
        items = max(output.counts.get("copied", 0), self._items)
        moved = max(output.out_bytes or 0, self._bytes)
        self._control.count(Counter.COPIED, items - self._items, moved - self._bytes)
        self._items, self._bytes = items, moved


def judged(summary: Summary, status: int) -> Summary:
    """Return the summary of a run that succeeded, or whose errors are counted.

    Failed or differing entries are in the summary; the caller decides what they mean.

    Raises:
        XcpKilled: XCP or one of its processes was killed.
        IndexLost: the index cannot be used.
        StorageError: XCP could not work, or did not report that it passed.
    """
    if status < 0 or summary.says(f"exit code {_KILLED}"):
        raise XcpKilled("XCP was killed, perhaps because memory ran out; it can resume.")
    if summary.says("Empty or invalid index", "Incompatible index file"):
        raise IndexLost("The index of XCP is damaged or of another version.")
    if (found := refusal(summary, status)) is not None:
        raise found
    if summary.status is None:
        raise BackendFailed("XCP ended without saying how; nothing of it is believed.")
    if summary.errors or summary.different:
        return summary
    if status != 0 or summary.status != "PASSED":
        raise BackendFailed("XCP says that it failed, though it counts no error.")
    return summary


def refusal(summary: Summary, status: int) -> StorageError | None:
    """Return the error for a reason that XCP prints when it cannot work; None without one."""
    if status == 0 and summary.status == "PASSED" and not summary.errors:
        return None
    for words, kind, sentence in _REFUSALS:
        if summary.says(*words):
            return kind(sentence)
    return None


def _pairs(summary: Summary) -> list[tuple[str, str]]:
    parts = (line.partition(":") for line in summary.tail)
    return [(key.strip(), value.strip()) for key, colon, value in parts if colon]


def _until(summary: Summary) -> str | None:
    for line in summary.tail:
        if line.startswith("Licensed to"):
            return line.rpartition(" until ")[2] or None
    return None
