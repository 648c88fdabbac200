"""Access to this interpreter for other users, when it is in a private directory."""

import stat
import sys
from pathlib import Path

#: In a mount namespace of its own: an open directory in place of $1, with only $1/$2 in it.
_SCRIPT = """
set -e
stage=$(mktemp -d)
mount --rbind "$1/$2" "$stage"
mount -t tmpfs -o mode=0755 tmpfs "$1"
mkdir -p "$1/$2"
mount --rbind "$stage" "$1/$2"
umount -l "$stage"
rmdir "$stage"
shift 2
exec "$@"
"""


def reachable() -> list[str]:
    """Return the start of a command line with which every user may run this Python.

    The process stays the one that was started.
    """
    interpreter = Path(sys.base_prefix).resolve()
    for place in reversed(interpreter.parents):
        if not place.stat().st_mode & stat.S_IXOTH:
            below = str(interpreter.relative_to(place))
            return ["unshare", "--mount", "sh", "-c", _SCRIPT, "sh", str(place), below]
    return []
