"""A Storage Scale file system: filesets, their links, quotas and snapshots.

Written from IBM's command reference. The GUI's simulator and the stand-in commands share it: they
differ only in how they are asked. Its state is plain data, so that a process can leave it to the
next one.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulators.shelf import Shelf

FILE_SYSTEM, MOUNT_POINT = "fs1", "/gpfs/fs1"
#: The directory that the shelf stands for.
BASE = f"{MOUNT_POINT}/research"
SNAPSHOTS = ".snapshots"
BLOCK = 256 << 10
#: Filesets that are not linked lie here, where no client sees them.
UNLINKED = ".unlinked"
FORBIDDEN = frozenset(":,/\n")


class Refused(Exception):
    """A command that fails: a code of the GUI, a code of the daemon, and a text."""

    def __init__(self, code: str, number: str, words: str) -> None:
        super().__init__(words)
        self.code, self.number, self.words = code, number, words


@dataclass
class Cluster:
    """One file system; `shelf` is its directory `BASE`."""

    shelf: Shelf
    filesets: dict[str, dict[str, Any]] = field(default_factory=dict)
    snapshots: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    #: Soft limits of bytes, and both limits of inodes, by fileset: `soft`, `files`, `files_soft`.
    further: dict[str, dict[str, int]] = field(default_factory=dict)
    #: Filesets whose grace period has ended.
    expired: list[str] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)
    default_limit: int = 0
    per_fileset: bool = False
    enforced: bool = True
    mount_point: str = MOUNT_POINT
    base: str = BASE
    root_held: bool | None = True
    #: Filesets with open files.
    in_use: list[str] = field(default_factory=list)
    count: int = 0
    #: The states of its nodes.
    nodes: list[str] = field(default_factory=lambda: ["active", "active"])

    def create(self, name: str, owner: str, permissions: int, inode_space: str) -> None:
        if not 0 < len(name) <= 255 or FORBIDDEN & set(name) or name in ("root", "new"):
            raise Refused("EFSSP0010C", "6027-2641", f"Incorrect fileset name {name}")
        if name in self.filesets:
            raise Refused("EFSSP1102C", "6027-1553", f"Fileset {name} already exists.")
        hidden = self.shelf.top / UNLINKED
        hidden.mkdir(exist_ok=True)
        uid, _, gid = owner.partition(":")
        self.shelf.make(f"{UNLINKED}/{name}", permissions, int(uid), int(gid or uid))
        self.filesets[name] = {"path": None, "independent": inode_space == "new"}
        self._effect(f"create {name}")

    def link(self, name: str, path: str) -> None:
        known = self.check_known(name)
        if known["path"] is not None:
            raise Refused("EFSSG0100C", "6027-1617", f"Fileset {name} is already linked.")
        where = self._where(path)
        if os.path.lexists(where):
            raise Refused("EFSSG0762C", "6027-1618", f"{path} exists: EEXIST.")
        (self.shelf.top / UNLINKED / name).rename(where)
        known["path"] = path
        self._effect(f"link {name}")

    def unlink(self, name: str, *, force: bool = False) -> None:
        known = self.check_known(name)
        if known["path"] is None:
            raise Refused("EFSSG2006C", "6027-1619", f"Fileset {name} is not linked.")
        if name in self.in_use and not force:
            raise Refused("EFSSG0101C", "6027-1559", f"{known['path']} is busy: open files.")
        self._where(known["path"]).rename(self.shelf.top / UNLINKED / name)
        known["path"] = None
        self._effect(f"unlink {name}")

    def delete(self, name: str, *, force: bool = False) -> None:
        if self.check_known(name)["path"] is not None:
            raise Refused("EFSSG0102C", "6027-1562", f"Fileset {name} must be unlinked first.")
        if self.snapshots.get(name):
            raise Refused("EFSSG0103C", "6027-1690", f"Fileset {name} has snapshots.")
        where = self.shelf.top / UNLINKED / name
        if any(where.iterdir()) and not force:
            raise Refused("EFSSG0104C", "6027-1563", f"Fileset {name} is not empty.")
        self.shelf.discard(f"{UNLINKED}/{name}")
        del self.filesets[name]
        self.limits.pop(name, None)
        self.further.pop(name, None)
        self._effect(f"delete {name}")

    def set_limit(self, name: str, limit: int) -> None:
        self.check_known(name)
        rounded = min(-(-limit // BLOCK) * BLOCK, (2**63 - 1) // BLOCK * BLOCK)
        self.limits.pop(name, None)
        if rounded:
            self.limits[name] = rounded
        self.shelf.limit(self.place(name), self.limit_of(name) or None)

    def set_block(self, name: str, soft: int, hard: int) -> None:
        """Set both limits of bytes."""
        if soft and hard and soft > hard:
            raise Refused("EFSSG0111C", "6027-3321", "The soft limit is above the hard limit.")
        self.set_limit(name, hard)
        self._set_further(name, soft=-(-soft // BLOCK) * BLOCK)

    def set_files(self, name: str, soft: int, hard: int) -> None:
        """Set both limits of inodes."""
        self.check_known(name)
        self._set_further(name, files=hard, files_soft=soft)

    def _set_further(self, name: str, **limits: int) -> None:
        now = {**self.further.get(name, {}), **limits}
        self.further[name] = {kind: limit for kind, limit in now.items() if limit}

    def figures(self, name: str) -> dict[str, Any]:
        """What the quota of a fileset shows beside its hard limit, in KiB and files."""
        further, used = self.further.get(name, {}), self.used(name)
        below = (self.shelf.top / self.place(name)).rglob("*")
        inodes = 1 + sum(SNAPSHOTS not in entry.parts for entry in below)
        past = used > (further.get("soft") or 2**64) or inodes > (
            further.get("files_soft") or 2**64
        )
        grace = "expired" if name in self.expired else "6 days" if past else "none"
        return {
            "blockUsage": used >> 10,
            "blockQuota": further.get("soft", 0) >> 10,
            "blockInDoubt": 0,
            "blockGrace": grace,
            "filesUsage": inodes,
            "filesQuota": further.get("files_soft", 0),
            "filesLimit": further.get("files", 0),
            "filesInDoubt": 0,
            "filesGrace": "none",
        }

    def limit_of(self, name: str) -> int:
        return self.limits.get(name) or self.default_limit

    def used(self, name: str) -> int:
        return self.shelf.used(self.place(name))

    def place(self, name: str) -> str:
        path = self.filesets[name]["path"]
        return f"{UNLINKED}/{name}" if path is None else path.removeprefix(f"{self.base}/")

    def keep(self, fileset: str, name: str) -> None:
        if not self.check_known(fileset)["independent"]:
            raise Refused("EFSSG0105C", "6027-2620", f"Fileset {fileset} is not independent.")
        if FORBIDDEN & set(name) or not 0 < len(name) <= 255:
            raise Refused("EFSSG0106C", "6027-2642", f"Incorrect snapshot name {name}")
        kept = self.snapshots.setdefault(fileset, [])
        if any(one["name"] == name for one in kept):
            raise Refused("EFSSP1102C", "6027-2644", f"Snapshot {name} already exists.")
        self.shelf.keep(self.place(fileset), SNAPSHOTS, name)
        self.count += 1
        kept.append({"name": name, "id": self.count})
        self._effect(f"snapshot {fileset} {name}")

    def forget(self, fileset: str, name: str) -> None:
        kept = self.snapshots.get(fileset, [])
        if not any(one["name"] == name for one in kept):
            raise Refused("EFSSG0107C", "6027-2683", "Invalid value in 'snapshotName'")
        self.shelf.forget(SNAPSHOTS, name)
        self.snapshots[fileset] = [one for one in kept if one["name"] != name]
        self._effect(f"forget {fileset} {name}")

    def has_directory(self, path: str) -> bool:
        where = f"{self.mount_point}/{path}"
        return f"{where}/".startswith(f"{self.base}/") and self._where(where).is_dir()

    def check_known(self, name: str) -> dict[str, Any]:
        if name not in self.filesets:
            raise Refused("EFSSG0108C", "6027-1554", f"Invalid value in 'fsetName': {name}")
        return self.filesets[name]

    def _where(self, path: str) -> Path:
        return self.shelf.top / path.removeprefix(self.base).strip("/")

    def _effect(self, words: str) -> None:
        self.count += 1
        self.effects.append(f"{words} #{self.count}")
