"""Capabilities of the superuser that a process drops (capabilities(7))."""

import ctypes
import os
from pathlib import Path

#: A process with it writes past the limits of ext4's quota.
CAP_SYS_RESOURCE = 24
#: A process with it may set limits of quota.
CAP_SYS_ADMIN = 21

_PR_CAPBSET_DROP = 24
_VERSION_3 = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Half(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def has(capability: int) -> bool:
    """Return whether the calling thread has a capability in effect."""
    for line in Path("/proc/thread-self/status").read_text("ascii").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> capability & 1)
    return False


def drop(capability: int) -> None:
    """Drop a capability for ever, in this thread, its future threads and children.

    Running threads keep theirs, so call it before any thread starts. A process without the
    capability stays as it was.

    Raises:
        OSError: capset(2) failed.
    """
    if not has(capability):
        return
    _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # needs CAP_SETPCAP; capset does the rest
    header, halves = _Header(_VERSION_3, 0), (_Half * 2)()
    _checked(_libc.capget(ctypes.byref(header), halves))
    half, bit = halves[capability // 32], 1 << capability % 32
    half.effective &= ~bit
    half.permitted &= ~bit
    half.inheritable &= ~bit
    _checked(_libc.capset(ctypes.byref(header), halves))


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
