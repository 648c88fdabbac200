"""The commands `vfolder config`: the configuration with all defaults and overrides."""

from dataclasses import asdict
from pathlib import Path

import click

from api.cli.configuration.check import ERROR, WARNING, check_file
from api.cli.forms import CONFIG_FILE, FAILED, print_json
from core.errors import ConfigurationError
from core.settings import Settings, effective, find, load, masked, value_of


@click.group()
def config() -> None:
    """Check and print the configuration."""


@config.command()
@CONFIG_FILE
@click.option("-o", "form", type=click.Choice(["text", "json"]), default="text", help="The output.")
@click.option("--strict", is_flag=True, help="Warnings fail, too.")
@click.pass_context
def check(context: click.Context, file: Path | None, form: str, *, strict: bool) -> None:
    """Check all that a start and the first use check, and print every effective value.

    Options of every backend, old spellings of the reference, certificates, directories, ports,
    rights, and modes of files with secrets. No server is asked. The exit status is 1 when a process
    would not start or a volume would be down.
    """
    path = _found(file)
    settings, findings = check_file(path)
    failing = {ERROR, WARNING} if strict else {ERROR}
    failed = any(one.level in failing for one in findings)
    values = {key: masked(key, value) for key, value in effective(settings)} if settings else {}
    if form == "json":
        found = [asdict(one) for one in findings]
        print_json({"file": str(path), "ok": not failed, "findings": found, "values": values})
    else:
        click.echo(f"# from {path}")
        for key, text in values.items():
            click.echo(f"{key} = {text}")
        for one in findings:
            click.echo(f"{one.level}: {f'{one.key} ' if one.key else ''}{one.text}", err=True)
    if failed:
        context.exit(FAILED)


def _found(file: Path | None) -> Path:
    try:
        return file.absolute() if file else find()
    except ConfigurationError as error:
        raise click.ClickException(error.detail) from None


@config.command()
@click.argument("key")
@CONFIG_FILE
def get(key: str, file: Path | None) -> None:
    """Print one value, also a secret; `vfolder config check` lists the keys."""
    try:
        # Only the address of Redis may be in etcd; for other values its members are not asked.
        click.echo(value_of(_load(file, ask_etcd=key.startswith("vfolder.redis")), key))
    except KeyError:
        raise click.UsageError(f"No setting {key}; `vfolder config check` lists all.") from None


def _load(file: Path | None, *, ask_etcd: bool) -> Settings:
    try:
        return load(file.absolute() if file else None, ask_etcd=ask_etcd)
    except ConfigurationError as error:
        raise click.ClickException(error.detail) from None
