"""The command `vfolder` and its groups of commands."""

import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module

import click

from api.cli.forms import door_group

_PASSED_ON = {"ignore_unknown_options": True, "help_option_names": []}


#: Where each command is. A module is loaded when its command runs, or is listed with its help:
#: what `vfolder ls` does not use costs it no time.
_COMMANDS = {
    "access": "api.cli.access:access",
    "completion": "api.cli.completion:completion",
    "config": "api.cli.configuration:config",
    "doctor": "api.cli.doctor:doctor",
    "jobs": "api.cli.jobs:jobs",
    "migrate": "api.cli.migration:migrate",
    "node": "api.cli.operating:node",
    "nodes": "api.cli.operating:nodes",
    "trash": "api.cli.operating:trash",
    "volumes": "api.cli.operating:volumes",
    # of people
    "cat": "api.cli.people.entries:cat",
    "context": "api.cli.people.contexts:context",
    "cp": "api.cli.people.transfers:cp",
    "download": "api.cli.people.transfers:download",
    "du": "api.cli.people.entries:du",
    "find": "api.cli.people.search:find",
    "folder": "api.cli.people.upkeep:folder",
    "key": "api.cli.people.sharing:key",
    "link": "api.cli.people.links:link",
    "login": "api.cli.people.contexts:login",
    "logout": "api.cli.people.contexts:logout",
    "ls": "api.cli.people.entries:ls",
    "mkdir": "api.cli.people.entries:mkdir",
    "mv": "api.cli.people.entries:mv",
    "notices": "api.cli.people.quotas:notices",
    "quota": "api.cli.people.quotas:quota",
    "rm": "api.cli.people.entries:rm",
    "share": "api.cli.people.sharing:share",
    "snapshot": "api.cli.people.upkeep:snapshot",
    "stat": "api.cli.people.entries:stat",
    "sync": "api.cli.people.sync:sync",
    "undo": "api.cli.people.upkeep:undo",
    "upload": "api.cli.people.transfers:upload",
    "whoami": "api.cli.people.contexts:whoami",
}


class LazyCommands(MutableMapping[str, click.Command]):
    """Commands by name; those that were named as `module:attribute` are loaded when looked up."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            module, _, attribute = self._places[name].partition(":")
            self._loaded[name] = getattr(import_module(module), attribute)
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        self._places.pop(name, None)
        self._loaded.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter({**self._places, **self._loaded})

    def __len__(self) -> int:
        return len({**self._places, **self._loaded})


if "_VFOLDER_COMPLETE" in os.environ:  # a shell asks: this module says how it is answered
    import_module("api.cli.completion")


@click.group(commands=LazyCommands(_COMMANDS))
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
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, required=True)
def store(arguments: tuple[str, ...]) -> None:
    """Run the Valkey that comes with vfolder, with the arguments of valkey-server."""
    _become("deploy.embedded_store", arguments)


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
