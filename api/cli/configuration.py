"""The commands `vfolder config`: the configuration with all defaults and overrides."""

from pathlib import Path

import click

from core.errors import ConfigurationError
from core.settings import Settings, VolumeTable, effective, ineffective_keys, load, masked, value_of

_FILE = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    help="The configuration file; searched like the node does when absent.",
)


@click.group()
def config() -> None:
    """Check and print the configuration."""


@config.command()
@_FILE
def check(file: Path | None) -> None:
    """Check the configuration and print every effective value, secrets masked."""
    settings = _load(file)
    click.echo(f"# from {settings.origin}")
    for key, value in effective(settings):
        click.echo(f"{key} = {masked(key, value)}")
    for name, table in settings.volume.items():
        _check_volume(settings, name, table)
    for key in ineffective_keys(settings):
        click.echo(f"note: {key} is set and has no effect here", err=True)


def _check_volume(settings: Settings, name: str, table: VolumeTable) -> None:
    """Check that the backend exists and takes the volume's options; the storage is not touched.

    A missing directory is only noted: it may be mounted later.
    """
    from backends.base import Mount  # noqa: PLC0415 - no other command pays for it
    from backends.volumes import backend_factory  # noqa: PLC0415 - see above

    mount = Mount(name, settings.volume_path(table), table.backend_options)
    try:
        backend_factory(table.backend)(mount)
    except ConfigurationError as error:
        raise click.ClickException(f"[volume.{name}] {error.detail}") from None
    if not settings.volume_path(table).is_dir():
        click.echo(f"note: volume.{name}.path is not a directory on this node", err=True)


@config.command()
@click.argument("key")
@_FILE
def get(key: str, file: Path | None) -> None:
    """Print one value, also a secret; `vfolder config check` lists the keys."""
    try:
        click.echo(value_of(_load(file), key))
    except KeyError:
        raise click.UsageError(f"No setting {key}; `vfolder config check` lists all.") from None


def _load(file: Path | None) -> Settings:
    try:
        return load(file.absolute() if file else None)
    except ConfigurationError as error:
        raise click.ClickException(error.detail) from None
