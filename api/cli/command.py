"""The command `vfolder` and its groups of commands."""

import os
import sys

import click

from api.cli.access import access
from api.cli.completion import completion
from api.cli.configuration import config
from api.cli.doctor import doctor
from api.cli.http import door_group
from api.cli.jobs import jobs
from api.cli.migration import migrate
from api.cli.operating import node, nodes, trash, volumes

_PASSED_ON = {"ignore_unknown_options": True, "help_option_names": []}


@click.group()
@door_group
@click.version_option(package_name="vfolder")
def main() -> None:
    """A job-oriented storage service for virtual folders."""


@main.command(context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def up(arguments: tuple[str, ...]) -> None:
    """Start every process of this node here; Ctrl-C stops them in order."""
    _become("deploy.supervisor", arguments)


@main.command(context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> None:
    """Show the main job on real files, from upload to delete."""
    _become("deploy.demo", arguments)


@main.command(context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def contract(arguments: tuple[str, ...]) -> None:
    """Prove that the backend of a volume keeps the contract of backends."""
    _become("contract", arguments)


@main.command(context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def simulate(arguments: tuple[str, ...]) -> None:
    """Run a simulated array, to try a configuration without one."""
    _become("simulators", arguments)


def _become(module: str, arguments: tuple[str, ...]) -> None:
    # This package may not import `deploy`, so another program replaces this one.
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - no shell is meant


for _command in (access, completion, config, doctor, jobs, volumes, trash, nodes, node, migrate):
    main.add_command(_command)
