"""The commands `vfolder migrate`: what this service makes of the reference's files and volumes."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.cli.forms import FAILED, Output, print_json
from core.errors import ConfigurationError, StorageError
from core.settings import KeyReading, Reading, Settings, VolumeTable, keys_of, load

if TYPE_CHECKING:  # loading it takes long, and most commands do not need it
    from backends.entries import VolumeInventory

#: Names that the text names per list; `--json` has all.
_SHOWN = 10
_COLUMNS = ("key", "reading", "note")
#: Keys with such a reading must be changed.
_LEFT = (Reading.RENAMED, Reading.UNKNOWN)
_SERVED = "Everything is served."
_NOT_SERVED = "Not everything is served: mend what is named above, then check again."
Keys = list[tuple[str, KeyReading]]


@dataclass
class VolumeVerdict:
    """What is known of one volume."""

    name: str
    backend: str
    path: str
    #: Why it is not served at all; empty where it is.
    problems: list[str] = field(default_factory=list)
    inventory: "VolumeInventory | None" = None

    @property
    def served(self) -> bool:
        """Return whether all of it is served."""
        return not self.problems and (self.inventory is None or self.inventory.complete)


@click.group()
def migrate() -> None:
    """Move from the reference's storage proxy to this service."""


@migrate.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_context
def check(context: click.Context, file: Path, directory: Path | None, *, as_json: bool) -> None:
    """Say what is served of a configuration FILE and its volumes, what not, and why.

    Reads the volumes that the file names, or only the volume at DIRECTORY. Nothing is written, and
    no server is asked. The exit status is 1 when a key must be changed or something is not served.
    """
    try:
        keys = list(keys_of(file))
    except ConfigurationError as error:
        raise click.ClickException(error.detail) from None
    refused, volumes = "", []
    try:
        settings = load(file.absolute(), {}, ask_etcd=False)  # it works on any machine
    except ConfigurationError as error:
        refused = error.detail
        volumes = [_tree("(at DIRECTORY)", directory)] if directory else []
    else:
        volumes = list(_volumes(settings, directory))
    left = any(entry.reading in _LEFT for _, entry in keys)
    served = not (refused or left) and all(volume.served for volume in volumes)
    if as_json:
        _print_json(file, keys, refused, volumes, served=served)
    else:
        _print(file, keys, refused, volumes)
        click.echo(_SERVED if served else _NOT_SERVED)
    if not served:
        context.exit(FAILED)


def _volumes(settings: Settings, directory: Path | None) -> Iterator[VolumeVerdict]:
    for name, table in settings.volume.items():
        path = settings.volume_path(table)
        problems = list(_problems(name, table, path, read=directory is None))
        verdict = VolumeVerdict(name, table.backend, str(path), problems)
        if directory is None:
            _read_into(verdict, path)
        yield verdict
    if directory is not None:
        yield _tree("(at DIRECTORY)", directory)


def _tree(name: str, directory: Path) -> VolumeVerdict:
    verdict = VolumeVerdict(name, "", str(directory))
    _read_into(verdict, directory)
    return verdict


def _problems(name: str, table: VolumeTable, path: Path, *, read: bool) -> Iterator[str]:
    """Return why a volume cannot be served; with `read` its mount is proved as at the start."""
    from backends.base import Mount  # noqa: PLC0415 - no other command pays for it
    from backends.fs import translated  # noqa: PLC0415 - see above
    from backends.volumes import check_mount, create_backend  # noqa: PLC0415 - see above

    prove = check_mount if read and path.is_dir() else create_backend
    try:
        with translated():
            prove(table.backend, Mount(name, path, table.backend_options))
    except StorageError as error:
        yield error.detail


def _read_into(verdict: VolumeVerdict, path: Path) -> None:
    from backends.entries import read_volume  # noqa: PLC0415 - no other command pays for it
    from backends.fs import descriptors, translated  # noqa: PLC0415 - see above

    if not path.is_dir():
        verdict.problems.append(f"{path} is no directory on this machine; mount the volume.")
        return
    try:
        with translated(), descriptors.opened(str(path.absolute())) as root:
            verdict.inventory = read_volume(root)
    except StorageError as error:
        verdict.problems.append(f"{path} cannot be read: {error.detail}")


def _print(file: Path, keys: Keys, refused: str, volumes: list[VolumeVerdict]) -> None:
    rows = {}
    for key, entry in keys:
        if entry.reading is not Reading.SAME:  # a table of many keys is one row
            name = entry.key if entry.key.endswith("*") else key
            rows[name] = [name, str(entry.reading), entry.note]
    as_before = sum(entry.reading is Reading.SAME for _, entry in keys)
    click.echo(f"{file}: {len(keys)} keys, {as_before} are read as before")
    Output().table(_COLUMNS, list(rows.values()), "No key is read in another way.")
    if refused:
        click.echo(f"A node does not start with this file: {refused}")
    for volume in volumes:
        for line in _lines(volume):
            click.echo(line)


def _lines(volume: VolumeVerdict) -> Iterator[str]:
    yield f"Volume {volume.name} {volume.backend} {volume.path}"
    for problem in volume.problems:
        yield f"  not served: {problem}"
    found = volume.inventory
    if found is None:
        return
    yield f"  {'served' if volume.served else 'served in part'}: {_counts(found)}"
    if found.unknown:
        yield f"  not served: {_some(found.unknown)} (no quota scope and no vfolder)"
    for path, reason in found.unreadable[:_SHOWN]:
        yield f"  not served: {path} ({reason})"
    if found.with_uploads:
        yield f"  {found.with_uploads} vfolders have unfinished uploads; users send these again"


def _counts(found: "VolumeInventory") -> str:
    parts = [f"{found.vfolders} vfolders in {found.scopes} quota scopes"]
    if found.legacy_vfolders:
        parts.append(
            f"{found.legacy_vfolders} vfolders without a quota scope, which keep their ids"
        )
    parts.append("layout " + (found.version or "without version.txt"))
    if found.marked:
        parts.append("used by this service before")
    return ", ".join(parts)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _print_json(
    file: Path, keys: Keys, refused: str, volumes: list[VolumeVerdict], *, served: bool
) -> None:
    print_json(
        {
            "file": str(file),
            "keys": [
                {"key": key, "reading": entry.reading, "note": entry.note} for key, entry in keys
            ],
            "refused": refused or None,
            "volumes": [asdict(volume) | {"served": volume.served} for volume in volumes],
            "served": served,
        }
    )
