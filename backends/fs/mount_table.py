"""The mounts that this process sees, as the kernel lists them (proc(5), mountinfo)."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: Blanks, tabs, newlines and backslashes of a name are written as three octal digits.
_ESCAPE = re.compile(r"\\([0-7]{3})")


class MountEntry(NamedTuple):
    """One mount; its names are without escapes, and bytes that are no UTF-8 are surrogates."""

    number: str
    #: Major and minor number of its device, such as `8:1`.
    device: str
    #: The directory of its file system that is mounted.
    root: str
    point: str
    #: The type of its file system, such as `nfs4`.
    kind: str
    source: str


def mounts() -> Iterator[MountEntry]:
    """Yield every mount, those that cover others after them."""
    table = Path("/proc/self/mountinfo").read_bytes().decode("utf-8", "surrogateescape")
    for line in table.split("\n")[:-1]:
        before, _, behind = line.partition(" - ")
        number, _, device, root, point, *_ = map(unescaped, before.split(" "))
        kind, source, *_ = map(unescaped, behind.split(" "))
        yield MountEntry(number, device, root, point, kind, source)


def mount_of(descriptor: int) -> MountEntry | None:
    """Return the mount of a descriptor; None when this process does not see it."""
    facts = Path(f"/proc/self/fdinfo/{descriptor}").read_text("ascii")
    number = next(line.split()[1] for line in facts.splitlines() if line.startswith("mnt_id:"))
    return next((mount for mount in mounts() if mount.number == number), None)


def unescaped(text: str) -> str:
    """Return a name without the escapes of the kernel's tables."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
