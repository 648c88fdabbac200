"""`vfolder doctor` on a volume of a test."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from api.cli.doctor.own_scope import LOCK, SCOPE
from tests.support import preloaded
from tests.support.doors import settings_in


@dataclass
class Clinic:
    """A configuration with the volume `sick`, and the command on it."""

    directory: Path
    top: Path
    backend: str = "vfs"
    options: dict[str, Any] = field(default_factory=dict)
    #: How much the speed is measured with, and how long the command may take.
    size: str = "4m"
    seconds: float = 300

    @property
    def words(self) -> list[str]:
        given = ", ".join(f"{name} = {json.dumps(value)}" for name, value in self.options.items())
        table = f'[volume.sick]\nbackend = "{self.backend}"\npath = "{self.top}"\n'
        settings = settings_in(
            self.directory, more=f"{table}options = {{ {given} }}\n", marked=False
        )
        command = ["api.cli", "doctor", "sick", "--size", self.size]
        return [*command, "--config", settings.origin]

    def start(self, *words: str) -> "Begun":
        """Start the command; it prints into a file."""
        with (self.directory / "printed").open("wb") as output:
            process = preloaded.start(
                "command",
                [*self.words, "--json", *words],
                output=output,
                environment=os.environ,
            )
        return Begun(process, self.directory / "printed")

    def text(self, *words: str, status: int = 0) -> str:
        done = preloaded.run([*self.words, *words], os.environ, self.seconds)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def checks(self, *words: str, status: int = 0) -> dict[str, dict[str, Any]]:
        found = json.loads(self.text("--json", *words, status=status))
        assert found["ok"] is (status == 0)
        return {one["check"]: one for one in found["checks"]}

    @property
    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.top)) for path in self.top.rglob("*"))

    @property
    def has_left(self) -> bool:
        return (self.top / SCOPE.directory).exists() or (self.top / ".vfolder" / LOCK).exists()


@dataclass
class Begun:
    """A run of the command under way."""

    process: preloaded.Running
    printed: Path

    def end(self) -> tuple[int, dict[str, Any]]:
        """Wait for its end; return its exit status, and what it found."""
        status = self.process.wait(120)
        return status, json.loads(self.printed.read_text())
