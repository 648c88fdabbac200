"""Preparation before the first process starts: arguments, first configuration, checks."""

import argparse
import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from backends.fs import check_mounts
from core.errors import ConfigurationError
from core.process import check_certificate
from core.settings import CONFIG_NAME, Settings, find, load
from deploy import first_run, listeners, procfile

#: Where a first start writes the configuration, relative to the working directory.
DEFAULT_DIRECTORY = Path("var")
_LOCK_NAME = "up.lock"


@dataclass(frozen=True, slots=True)
class Start:
    """All facts for a supervisor, and the lock that excludes a second one."""

    settings: Settings
    commands: dict[str, list[str]]
    lock: IO[str]
    #: The configuration was written by this start.
    is_first: bool


def prepare(arguments: Sequence[str]) -> Start:
    """Find or write the configuration, read the Procfile, and check that all processes can start.

    Raises:
        ConfigurationError: a process cannot start; the message names the setting to change.
        SystemExit: the arguments are wrong, or are `--help`.
    """
    options = _parser().parse_args(arguments)
    path = Path(options.config).absolute() if options.config else _default_path()
    is_first = first_run.ensure(path)
    settings = load(path)
    settings.check_store()
    first_run.make_open(settings.state_dir)  # doors with another user have their sockets there
    commands = procfile.read(Path(options.procfile))
    if not settings.vfolder.flower.password:  # the greeting says how to turn it on
        commands.pop("flower", None)
    lock = _lock(settings)
    listeners.check_free(settings)
    for door in ("manager", "client"):
        check_certificate(door, settings)
    check_mounts(settings)
    return Start(settings, commands, lock, is_first)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vfolder up",
        description="Start every process of this node here; Ctrl-C stops them in order.",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"the configuration, written if absent; without this option the first {CONFIG_NAME} "
        f"that is found, or a new {DEFAULT_DIRECTORY / CONFIG_NAME}",
    )
    parser.add_argument(
        "--procfile", metavar="FILE", default=procfile.PROCFILE, help="which processes to run"
    )
    return parser


def _default_path() -> Path:
    try:
        return find()
    except ConfigurationError:
        return (DEFAULT_DIRECTORY / CONFIG_NAME).absolute()


def _lock(settings: Settings) -> IO[str]:
    path = settings.state_dir / _LOCK_NAME
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise ConfigurationError(
            f"This node already runs (process {holder or 'unknown'}) with {settings.origin}; "
            "stop it, or give another file with --config."
        ) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
