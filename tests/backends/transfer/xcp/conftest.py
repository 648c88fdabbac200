"""The stand-in for XCP in a directory of its own, and what was asked of it."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backends.transfer.xcp import Xcp

STANDIN = Path(__file__).resolve().parents[4] / "simulators/programs/xcp/standin.py"


@dataclass
class StandIn:
    """A stand-in with two exports, and a catalog on a third."""

    directory: Path

    def __post_init__(self) -> None:
        for name in ("source", "target", "catalog", "bin"):
            (self.directory / name).mkdir()
        tool = self.directory / "bin/xcp"
        words = f"STANDIN_DIR={self.directory} exec {sys.executable} {STANDIN}"
        tool.write_text(f'#!/bin/sh\n{words} "$@"\n')
        tool.chmod(0o755)
        self.state()

    @property
    def command(self) -> list[str]:
        return [str(self.directory / "bin/xcp")]

    def state(self, **changes: Any) -> None:
        exports = {
            f"nas:/{name}": str(self.directory / name) for name in ("source", "target", "catalog")
        }
        state = {"exports": exports, "catalog": "nas:/catalog", "progress_every": 5}
        (self.directory / "state.json").write_text(json.dumps(state | changes))

    def faults(self, **found: Any) -> None:
        (self.directory / "faults.json").write_text(json.dumps(found))

    def calls(self) -> list[dict[str, Any]]:
        path = self.directory / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def commands(self) -> list[str]:
        return [call["argv"][0] for call in self.calls()]

    def indexes(self) -> list[str]:
        path = self.directory / "catalog/catalog/indexes"
        return sorted(entry.name for entry in path.iterdir()) if path.exists() else []

    def xcp(self, **more: Any) -> Xcp:
        return Xcp(self.command, catalog="nas:/catalog", **more)

    def fill(self, files: int = 40) -> None:
        for number in range(files):
            folder = self.directory / "source" / f"d{number % 3}"
            folder.mkdir(exist_ok=True)
            (folder / f"f{number}").write_text(f"content {number}" * number)

    def reset(self) -> None:
        """Forget all calls, and the indexes that killed ones left."""
        (self.directory / "calls.jsonl").unlink(missing_ok=True)
        shutil.rmtree(self.directory / "catalog/catalog", ignore_errors=True)

    def clear(self) -> None:
        shutil.rmtree(self.directory / "target")
        (self.directory / "target").mkdir()


@pytest.fixture
def standin(tmp_path: Path) -> StandIn:
    (tmp_path / "xcp").mkdir()
    return StandIn(tmp_path / "xcp")
