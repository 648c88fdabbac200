"""A simulated volume of a site: its directory, the array or the programs, and its configuration."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulators.serving import Entry, Faults, Server, make_certificate, serving
from simulators.shelf import BtrfsShelf, Shelf
from simulators.systems import SYSTEMS
from simulators.versions import VERSIONS

PROGRAMS = Path(__file__).parent / "programs"
#: A stand-in of Lustre's tool, in place of an array that listens.
EXASCALER = "exascaler"
_BTRFS = "btrfs"
_TMPFS = "size=1g"


@dataclass
class SimulatedVolume:
    """What a configuration needs to know, and what it shows of its requests."""

    name: str
    top: Path
    options: dict[str, Any]
    #: The option with the secret, and the file that has it.
    secret_option: str = ""
    secret_file: Path | None = None
    server: Server | None = None
    #: Whether the directory's file system stops writers at a limit.
    enforces: bool = False
    _shown: list[Entry] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Where the array listens; empty for one that is a program."""
        return self.server.url if self.server else ""

    @property
    def table(self) -> str:
        """The table of the configuration, without the secret."""
        lines = [f"[volume.{self.name}]", f'backend = "{self.name}"', f'path = "{self.top}"']
        lines.append(f"[volume.{self.name}.options]")
        shown = {key: value for key, value in self.options.items() if key != self.secret_option}
        lines += [f"{key} = {json.dumps(value)}" for key, value in shown.items()]
        return "\n".join(lines) + "\n"

    @property
    def variable(self) -> str:
        """The variable of the environment that names the file of the secret."""
        option = self.secret_option.upper()
        return f"VFOLDER__VOLUME__{self.name.upper().replace('-', '_')}__OPTIONS__{option}_FILE"

    def taken_requests(self) -> list[Entry]:
        """The requests since the last call; they are forgotten."""
        if self.server is None:
            return []
        new = self.server.journal[:]
        del self.server.journal[: len(new)]
        return new


@contextmanager
def simulated(
    name: str, directory: Path, top: Path, version: str, faults: Faults, *, port: int = 0
) -> Iterator[SimulatedVolume]:
    """Run a volume until the end.

    Args:
        name: the name of the backend.
        directory: where the certificate, the secret and the programs lie.
        top: the directory that is mounted.
        version: a release of `VERSIONS`.
        faults: what goes wrong.
        port: where the array listens; 0 is a free port.
    """
    settings = VERSIONS[name][version]
    if name == EXASCALER:
        with _mounted(top):
            yield SimulatedVolume(name, top, _lustre(directory, top, settings))
        return
    system, shelf = SYSTEMS[name], shelf_at(top)
    certificate = make_certificate(directory, "array")
    secret = directory / "password"
    secret.write_text(f"{system.secret}\n")
    secret.chmod(0o600)
    simulator = system.simulate(shelf, **settings)
    with serving(simulator, faults, certificate, port) as server:
        options = {**system.options(server.url), "ca_bundle": str(certificate[0])}
        options |= simulator.further_options
        if name == "purestorage":
            options["rapidfile_dir"] = str(_programs(directory, pdu="rapidfile.py"))
        volume = SimulatedVolume(name, top, options, system.secret_option, secret, server)
        volume.enforces = isinstance(shelf, BtrfsShelf)
        yield volume


def shelf_at(top: Path) -> Shelf:
    """Return what keeps an array's directories: on btrfs, for root, one that holds limits."""
    found = subprocess.run(
        ["stat", "--file-system", "--format=%T", top], check=True, capture_output=True, text=True
    )
    if found.stdout.strip() == _BTRFS and os.geteuid() == 0:
        return BtrfsShelf(top)
    return Shelf(top)


@contextmanager
def _mounted(top: Path) -> Iterator[None]:
    """Give the directory a mount of its own, where it has none: a Lustre is a mount point.

    Raises:
        OSError: only root may mount.
    """
    if top.is_mount():
        yield
        return
    if os.geteuid() != 0:
        raise PermissionError(errno.EPERM, "run it as root, or name a mount point with --root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", _TMPFS, "lustre", top], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", top], check=True)


def _lustre(directory: Path, top: Path, settings: dict[str, Any]) -> dict[str, Any]:
    state = {"mount": str(top), **settings}
    programs = _programs(directory, lfs="lfs.py")
    (programs / "state.json").write_text(json.dumps(state))
    return {"lfs_path": str(programs / "lfs"), "lfs_tagging": "lfs", "lfs_prove": False}


def _programs(directory: Path, **names: str) -> Path:
    """Return a directory with stand-ins, for this Python: an installed file may not be executed."""
    made = directory / "programs"
    made.mkdir(exist_ok=True)
    for name, source in names.items():
        _, _, code = (PROGRAMS / source).read_text("utf-8").partition("\n")
        (made / name).write_text(f"#!{sys.executable} -IS\n{code}", "utf-8")
        (made / name).chmod(0o755)
    return made
