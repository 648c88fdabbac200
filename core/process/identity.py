"""As whom the doors run: `user` and `group` of `[storage-proxy]`.

Only a process of root can become somebody else. It does so for good, before it listens or starts
a thread; what it still needs of root's (the configuration, the directory of its counters) it has
read and made by then.
"""

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigurationError
from core.process.child import parent_death_signal_kept
from core.settings import StorageProxyTable

#: Says «as it is», as it does for chown(2).
_UNCHANGED = -1


@dataclass(frozen=True, slots=True)
class Identity:
    """A user and a group, with the other groups of the user."""

    uid: int
    gid: int
    groups: tuple[int, ...]

    @property
    def is_root(self) -> bool:
        """Whether nothing is refused to it."""
        return self.uid == 0


def current() -> Identity:
    """This process's."""
    return Identity(os.geteuid(), os.getegid(), tuple(os.getgroups()))


def configured(table: StorageProxyTable) -> Identity:
    """What the configuration asks for; what it leaves open is as it is.

    A user that the system does not know by name has a group of the same number, and no other.

    Raises:
        ConfigurationError: it names nobody.
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


def become(one: Identity, own: Path) -> bool:
    """Become it for good, and give it the directory `own`, which nobody else uses.

    A process that is not root stays who it is: False when that is somebody else.

    Raises:
        ConfigurationError: root may not, or the directory is out of its reach then.
    """
    now = current()
    if (one.uid, one.gid) == (now.uid, now.gid):
        return True
    if not now.is_root:
        return False
    try:
        os.chown(own, one.uid, one.gid)
        with parent_death_signal_kept():
            os.setgroups(one.groups)
            os.setresgid(one.gid, one.gid, one.gid)
            os.setresuid(one.uid, one.uid, one.uid)
    except OSError as error:
        raise ConfigurationError(
            f"[storage-proxy] user, group: this process may not become {one.uid}:{one.gid} "
            f"({error.strerror})."
        ) from error
    if not os.access(own, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"The user {one.uid} cannot reach {own}: let [vfolder] state-dir name a directory "
            "that others may enter, such as /var/lib/vfolder."
        )
    return True


def _number(value: str | int | None, key: str) -> int | None:
    """The id of a name or number; None for what stays."""
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
