"""Run a command with the limits of a systemd unit, without systemd: `python -m … UNIT COMMAND …`.

systemd sets most limits of a unit by seccomp(2) filters, the bounding set of rights and
no_new_privs. This does the same by the same library, from the lines of the unit file. What needs a
view of mounts of its own (ProtectSystem= and its like) is not done.
"""

import ctypes
import os
import re
import subprocess
import sys
from errno import EAFNOSUPPORT, ENOSYS, EPERM
from functools import cache
from pathlib import Path

UNITS = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
_ALLOW = 0x7FFF0000  # SCMP_ACT_ALLOW
_ERRNO = 0x00050000  # SCMP_ACT_ERRNO
_EQ, _MASKED_EQ = 4, 7  # scmp_compare
_WRITE, _EXEC = 2, 4  # PROT_WRITE, PROT_EXEC
#: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
_NEW_NAMESPACES = 0x7E020000
_FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def values(unit: Path, key: str) -> list[str]:
    """The values of a key of the unit file, in order."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text("utf-8"), re.MULTILINE)


def confined(unit: str) -> list[str]:
    """The start of a command line that runs with the rights and filters of a unit."""
    rights = " ".join(values(UNITS / unit, "CapabilityBoundingSet")).split()
    plus = "".join(f",+{right.removeprefix('CAP_').lower()}" for right in rights)
    bounded = ["setpriv", f"--bounding-set=-all{plus}", "--inh-caps=-all", "--no-new-privs", "--"]
    return [*bounded, sys.executable, "-m", "tests.support.confined", unit]


def allowed_calls(unit: Path) -> set[str]:
    """The names of the system calls that `SystemCallFilter` leaves."""
    left: set[str] = set()
    for line in values(unit, "SystemCallFilter"):
        names = set().union(*(_expanded(word) for word in line.removeprefix("~").split()))
        left = left - names if line.startswith("~") else left | names
    return left | _expanded("@default")


def _expanded(word: str) -> set[str]:
    if not word.startswith("@"):
        return {word}
    return set().union(*(_expanded(name) for name in _sets()[word]))


@cache
def _sets() -> dict[str, list[str]]:
    """What systemd calls its sets of system calls: names of calls and of other sets."""
    command = ["systemd-analyze", "syscall-filter"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found: dict[str, list[str]] = {}
    inside: list[str] = []
    for line in lines:
        if line.startswith("@"):
            inside = found[line] = []
        elif line.startswith("    ") and not line.lstrip().startswith("#"):
            inside.append(line.strip())
    return found


class Filter:
    """One seccomp filter: what is not allowed fails with EPERM, as SystemCallErrorNumber says."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(_ERRNO | EPERM))

    def rule(self, name: str, *when: tuple[int, int, int, int], action: int = _ALLOW) -> None:
        """Apply an action to a call whose arguments compare so: (number, operator, a, b)."""
        call = self._library.seccomp_syscall_resolve_name(name.encode())
        if call < 0:  # not of this machine
            return
        comparisons = (_Comparison * len(when))(*when)
        done = self._library.seccomp_rule_add_array(
            self._context, action, call, len(when), comparisons
        )
        assert done == 0, (name, os.strerror(-done))

    def load(self) -> None:
        """Let it hold for this process and all that it starts."""
        assert self._library.seccomp_load(self._context) == 0


def confine(unit: Path) -> None:
    """Apply the filters of a unit to this process."""
    own = Filter()
    special = {"socket", "clone", "clone3", "unshare", "setns", "mmap", "mprotect", "pkey_mprotect"}
    for name in sorted(allowed_calls(unit) - special):
        own.rule(name)
    assert values(unit, "RestrictNamespaces") == ["true"]
    own.rule("clone", (0, _MASKED_EQ, _NEW_NAMESPACES, 0))
    own.rule("unshare", (0, _MASKED_EQ, _NEW_NAMESPACES, 0))
    own.rule("clone3", action=_ERRNO | ENOSYS)
    assert values(unit, "MemoryDenyWriteExecute") == ["true"]
    for protection in (0, _WRITE, _EXEC):
        own.rule("mmap", (2, _MASKED_EQ, _WRITE | _EXEC, protection))
    own.rule("mprotect", (2, _MASKED_EQ, _EXEC, 0))
    own.rule("pkey_mprotect", (2, _MASKED_EQ, _EXEC, 0))
    families = " ".join(values(unit, "RestrictAddressFamilies")).split()
    for family in families:
        own.rule("socket", (0, _EQ, _FAMILIES[family], 0))
    for number in set(range(48)) - {_FAMILIES[family] for family in families}:
        own.rule("socket", (0, _EQ, number, 0), action=_ERRNO | EAFNOSUPPORT)
    own.load()


def main() -> None:
    """Confine this process, then become the command."""
    unit, *command = sys.argv[1:]
    confine(UNITS / unit)
    os.execvp(command[0], command)  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    main()
