"""A directory that is Lustre for a stand-in of its tool."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backends.base import Mount
from backends.systems.lustre import LustreBackend
from core.names import QuotaScope, ScopeKind

MIB = 1 << 20
STANDIN = Path(__file__).resolve().parents[4] / "simulators/programs/lfs.py"
LONG = pytest.mark.parametrize("lustre", ["long mount point"], indirect=True)


class Lustre:
    """A directory that is Lustre for the stand-in, and backends on it."""

    def __init__(self, home: Path, top: Path) -> None:
        self.home, self.top = home, top
        home.mkdir()
        (home / "lfs").symlink_to(STANDIN)
        self.state: dict[str, Any] = {"mount": str(top)}
        self.change()
        self.backend = self.another()

    def change(self, **state: Any) -> None:
        """Let the file system be so from now on."""
        self.state |= state
        (self.home / "state.json").write_text(json.dumps(self.state))

    def another(self, **options: Any) -> LustreBackend:
        """Return another backend on it."""
        given = {"lfs_path": str(self.home / "lfs"), "lfs_tagging": "lfs", "lfs_prove": False}
        return LustreBackend(Mount("lustre", self.top, {**given, **options}))

    def limits(self) -> dict[str, list[int]]:
        """Return the limits that are stored."""
        found: dict[str, list[int]] = json.loads((self.home / "limits.json").read_text())
        return {key: value for key, value in found.items() if any(value)}

    def calls(self) -> list[dict[str, Any]]:
        """Return every call of the tool."""
        return [json.loads(line) for line in (self.home / "calls.jsonl").read_text().splitlines()]


@pytest.fixture(params=["long mount point", "short mount point"])
def lustre(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lustre]:
    top = tmp_path / "lustre of the site"
    if request.param.startswith("short"):
        top = Path(f"/tmp/l{os.getpid() % 100_000}")  # noqa: S108 - a name of 15 characters at most
    top.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m", "lustre", top], check=True)
    try:
        yield Lustre(tmp_path / "standin", top)
    finally:
        subprocess.run(["umount", "-l", top], check=True)
        top.rmdir()


def scope() -> QuotaScope:
    return QuotaScope(ScopeKind.PROJECT, uuid4())
