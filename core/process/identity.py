"""The user and group of the doors: `user` and `group` of `[storage-proxy]`.

Only a process of root can change its user. It changes for good, before it listens or starts a
thread. What needs root's rights (read the configuration, create the directory of its counters) is
done before.
"""

import grp
import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from core.errors import ConfigurationError
from core.process.child import parent_death_signal_kept
from core.process.command import run_command
from core.settings import StorageProxyTable

#: What a process of ours reads while it runs: Python and its library, the packages, our code.
_READ = (
    sys.prefix,
    str(Path(os.__file__).parent),
    str(Path(msgspec.__file__).parents[1]),
    str(Path(__file__).parents[2]),
)
#: Ends with 1 where the user of the process cannot read one of the paths that follow.
_READS = 'for path; do [ -r "$path" ] && [ -x "$path" ] || exit 1; done'
#: A shell that looks at four directories is slower than this (seconds) only where a mount hangs.
_LOOK_SECONDS = 30.0
#: Means «do not change», as in chown(2).
_UNCHANGED = -1


@dataclass(frozen=True, slots=True)
class Identity:
    """A user and a group, with the other groups of the user."""

    uid: int
    gid: int
    groups: tuple[int, ...]

    @property
    def is_root(self) -> bool:
        """Return whether it is the superuser."""
        return self.uid == 0


def current() -> Identity:
    """Return the identity of this process."""
    return Identity(os.geteuid(), os.getegid(), tuple(os.getgroups()))


def configured(table: StorageProxyTable) -> Identity:
    """Return the configured identity; what the configuration leaves open stays as now.

    A number without a user of the system gets a group of the same number, and no other group.

    Raises:
        ConfigurationError: the system has no user or group of the configured name.
    """
    now = current()
    uid = _number(table.user, "user")
    gid = _number(table.group, "group")
    if uid is None:
        return Identity(now.uid, now.gid if gid is None else gid, now.groups)
    try:
        known = pwd.getpwuid(uid)
    except KeyError:
        gid = uid if gid is None else gid
        return Identity(uid, gid, (gid,))
    gid = known.pw_gid if gid is None else gid
    return Identity(uid, gid, tuple(os.getgrouplist(known.pw_name, gid)))


def reads_code(target: Identity) -> bool:
    """Return whether a user can read Python and our code; asks the kernel, as that user.

    True where this process is not root: then it cannot become another user. Costs a process.
    """
    if target.is_root or not current().is_root:
        return True
    try:
        done = run_command(
            ["/bin/sh", "-c", _READS, "sh", *_READ],
            _LOOK_SECONDS,
            cwd="/",
            user=target.uid,
            group=target.gid,
            extra_groups=target.groups,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def check_code() -> None:
    """Check that this process, with the user that it has become, can read Python and our code.

    Raises:
        ConfigurationError: it cannot.
    """
    if not all(os.access(path, os.R_OK | os.X_OK) for path in _READ):
        raise ConfigurationError(f"[storage-proxy] user: {unreadable_words(current())}")


def unreadable_words(target: Identity) -> str:
    """Return what to do where a user cannot read Python or our code."""
    return (
        f"the user {target.uid} cannot read the Python at {sys.prefix}, or this service: install "
        "both where that user may read them, such as below /opt, or name another user."
    )


def give(target: Identity, own: Path) -> None:
    """Give a directory of this service and its files to `target`, where this process is root.

    Raises:
        ConfigurationError: that failed.
    """
    if not current().is_root:
        return
    try:
        for path in (own, *own.iterdir()):
            os.chown(path, target.uid, target.gid, follow_symlinks=False)
    except OSError as error:
        raise ConfigurationError(f"Cannot give {own} to {target.uid}: {error.strerror}.") from error


def become(target: Identity, own: Path) -> bool:
    """Change this process to `target` for good, and give it the directory `own`.

    No other process uses that directory. A process that is not root does not change: the result is
    False when it is not `target` already.

    Raises:
        ConfigurationError: the change failed, or `target` cannot reach the directory.
    """
    now = current()
    if (target.uid, target.gid) == (now.uid, now.gid):
        return True
    if not now.is_root:
        return False
    try:
        os.chown(own, target.uid, target.gid)
        with parent_death_signal_kept():
            os.setgroups(target.groups)
            os.setresgid(target.gid, target.gid, target.gid)
            os.setresuid(target.uid, target.uid, target.uid)
    except OSError as error:
        raise ConfigurationError(
            f"[storage-proxy] user, group: this process may not become {target.uid}:{target.gid} "
            f"({error.strerror})."
        ) from error
    if not os.access(own, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"The user {target.uid} cannot reach {own}: let [vfolder] state-dir name a directory "
            "that others may enter, such as /var/lib/vfolder."
        )
    return True


def _number(value: str | int | None, key: str) -> int | None:
    """Return the id of a name or number; None for no change."""
    if value is None or str(value) == str(_UNCHANGED):
        return None
    if isinstance(value, int) or value.isdecimal():
        return int(value)
    try:
        return pwd.getpwnam(value).pw_uid if key == "user" else grp.getgrnam(value).gr_gid
    except KeyError:
        raise ConfigurationError(
            f"[storage-proxy] {key}: the system knows no {key} {value!r}."
        ) from None
