"""Project quota by the system's tools, where the kernel has no quotactl_fd (before Linux 5.14).

`xfs_quota` (xfsprogs) on XFS; `setquota`, `repquota` and `quotaon` (quota) on ext4. Ids are always
numbers, never names. The tools can report success although they failed. So every printed error
counts as one, and the caller reads back what it has set.
"""

import errno
import os
import re
import subprocess
from dataclasses import dataclass

from backends.fs import mount_table
from backends.mounted import ProjectUsage
from backends.systems.xfs.quotactl import UNIT_BYTES, soft_below
from core.errors import BackendFailed
from core.process import run_command

#: A tool that takes longer counts as failed (seconds).
ANSWER_SECONDS = 60
#: `#42  9216  8192  20480  00  [7 days]  2  0  77  00  [--------]`: the grace may hold a blank.
_XFS_ROW = re.compile(
    r"#(?P<id>\d+)\s+(?P<used>\d+)\s+(?P<soft>\d+)\s+(?P<hard>\d+)\s+\d+\s+\[[^\]]*\]"
    r"\s+(?P<inodes>\d+)\s+(?P<soft_inodes>\d+)\s+(?P<hard_inodes>\d+)\s",
)
_XFS_ENFORCED = re.compile(r"^\s*Enforcement: ON$", re.MULTILINE)
#: Columns of `repquota -O csv`.
_USED, _SOFT, _HARD, _INODES, _INODES_SOFT, _INODES_HARD = 3, 4, 5, 7, 8, 9


@dataclass(frozen=True)
class XfsTools:
    """See `ProjectCounts`; by xfs_quota(8)."""

    def usage(self, fd: int, project: int) -> ProjectUsage:
        """See `ProjectCounts.usage`."""
        output = _xfs(fd, f"report -p -n -N -b -i -L {project} -U {project}")
        for row in _XFS_ROW.finditer(output):
            if int(row["id"]) == project:
                used, hard, soft = (int(row[of]) * UNIT_BYTES for of in ("used", "hard", "soft"))
                inodes = (int(row[of]) for of in ("inodes", "hard_inodes", "soft_inodes"))
                counted, hard_inodes, soft_inodes = inodes
                return ProjectUsage(used, hard, counted, soft, hard_inodes, soft_inodes)
        if not self.enforced(fd):  # it prints nothing, with success, for a project without counts
            raise _off()
        return ProjectUsage(0, 0, 0)

    def set_limit(self, fd: int, project: int, limit_bytes: int) -> None:
        """See `quotactl.set_limit`."""
        soft = soft_below(self.usage(fd, project).soft_limit_bytes, limit_bytes)
        limits = f"bsoft={soft // UNIT_BYTES}k bhard={limit_bytes // UNIT_BYTES}k"
        _xfs(fd, f"limit -p {limits} {project}")

    def set_soft_limit(self, fd: int, project: int, limit_bytes: int) -> None:
        """See `quotactl.set_soft_limit`."""
        _xfs(fd, f"limit -p bsoft={limit_bytes // UNIT_BYTES}k {project}")

    def set_inode_limit(self, fd: int, project: int, limit_inodes: int) -> None:
        """See `quotactl.set_inode_limit`."""
        soft = soft_below(self.usage(fd, project).soft_limit_inodes, limit_inodes)
        _xfs(fd, f"limit -p isoft={soft} ihard={limit_inodes} {project}")

    def forget(self, fd: int, project: int) -> None:
        """See `quotactl.forget`."""
        _xfs(fd, f"limit -p bsoft=0 bhard=0 isoft=0 ihard=0 {project}")

    def enforced(self, fd: int) -> bool:
        """See `ProjectCounts.enforced`."""
        try:
            return bool(_XFS_ENFORCED.search(_xfs(fd, "state -p")))
        except (OSError, BackendFailed):
            return False


@dataclass(frozen=True)
class QuotaTools:
    """See `ProjectCounts`; by setquota(8) and repquota(8)."""

    def usage(self, fd: int, project: int) -> ProjectUsage:
        """See `ProjectCounts.usage`; costs a report of every project."""
        row = _row(fd, project)
        used, hard, soft = (row[of] * UNIT_BYTES for of in (_USED, _HARD, _SOFT))
        inodes = (row[_INODES_HARD], row[_INODES_SOFT])
        return ProjectUsage(used, hard, row[_INODES], soft, *inodes)

    def set_limit(self, fd: int, project: int, limit_bytes: int) -> None:
        """See `quotactl.set_limit`."""
        row = _row(fd, project)
        row[_HARD] = limit_bytes // UNIT_BYTES
        row[_SOFT] = soft_below(row[_SOFT], row[_HARD])
        _set(fd, project, row)

    def set_soft_limit(self, fd: int, project: int, limit_bytes: int) -> None:
        """See `quotactl.set_soft_limit`."""
        row = _row(fd, project)
        row[_SOFT] = limit_bytes // UNIT_BYTES
        _set(fd, project, row)

    def set_inode_limit(self, fd: int, project: int, limit_inodes: int) -> None:
        """See `quotactl.set_inode_limit`."""
        row = _row(fd, project)
        row[_INODES_HARD] = limit_inodes
        row[_INODES_SOFT] = soft_below(row[_INODES_SOFT], limit_inodes)
        _set(fd, project, row)

    def forget(self, fd: int, project: int) -> None:
        """See `quotactl.forget`."""
        _set(fd, project, [0] * (_INODES_HARD + 1))

    def enforced(self, fd: int) -> bool:
        """See `ProjectCounts.enforced`."""
        try:
            done = _done("quotaon", "-P", "-p", _mount_point(fd))
        except (OSError, BackendFailed):
            return False
        return done.stdout.rstrip().endswith("is on")


def _set(fd: int, project: int, row: list[int]) -> None:
    """Set every limit as in a row of the report; the tool sets all of them at once."""
    limits = (row[of] for of in (_SOFT, _HARD, _INODES_SOFT, _INODES_HARD))
    _run("setquota", "-P", f"{project}", *map(str, limits), _mount_point(fd))


def _row(fd: int, project: int) -> list[int]:
    output = _run("repquota", "-P", "-n", "-O", "csv", _mount_point(fd))
    head, *rows = output.splitlines() or [""]
    if not head.startswith("Project,"):
        raise _off()
    for line in rows:
        if line.startswith(f"#{project},"):
            return [int(cell) if cell.isdecimal() else 0 for cell in line.split(",")]
    return [0] * len(head.split(","))


def _xfs(fd: int, command: str) -> str:
    return _run("xfs_quota", "-x", "-c", command, _mount_point(fd))


def _run(program: str, *arguments: str) -> str:
    """Return the output of a tool; a printed error is an error, also with exit status 0."""
    done = _done(program, *arguments)
    if done.stderr.strip() or done.returncode:
        raise _refused(program, done.stderr)
    return done.stdout


def _done(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    try:
        return run_command([program, *arguments], ANSWER_SECONDS)
    except FileNotFoundError:
        raise BackendFailed(f"The program `{program}` is not installed on this node.") from None
    except subprocess.TimeoutExpired:
        raise BackendFailed(f"The program `{program}` did not end in time.") from None


def _refused(program: str, words: str) -> Exception:
    if "not permitted" in words or "denied" in words:
        return PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    if any(
        text in words for text in ("No such device", "Cannot stat", "No such process", "ENOTTY")
    ):
        return _off()
    return BackendFailed(f"The program `{program}` failed.")  # its output names paths of the host


def _off() -> OSError:
    return OSError(errno.ESRCH, os.strerror(errno.ESRCH))


def _mount_point(fd: int) -> str:
    """Return where the file system of a descriptor is mounted with its root.

    Raises:
        OSError: ESRCH when it is not mounted so.
    """
    device = os.fstat(fd).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for mount in mount_table.mounts():
        if mount.device == wanted and mount.root == "/":
            return mount.point
    raise _off()
