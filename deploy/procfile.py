"""The Procfile: the processes of one node."""

import shlex
import sys
from pathlib import Path

from honcho.environ import parse_procfile

from core.errors import ConfigurationError

#: The Procfile of this project.
PROCFILE = Path(__file__).parent / "Procfile"
#: The line of the embedded store; all other processes need it.
STORE = "redis"


def read(path: Path = PROCFILE) -> dict[str, list[str]]:
    """Return the argument list of each process, in the order of the file.

    `python` is replaced by the interpreter of this process.

    Raises:
        ConfigurationError: the file is missing, empty, or a line has unbalanced quotes.
    """
    try:
        lines = parse_procfile(path.read_text("utf-8")).processes
        commands = {name: _arguments(command) for name, command in lines.items()}
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path}: {error.strerror}.") from error
    except (ValueError, AssertionError) as error:
        raise ConfigurationError(f"{path} is not a Procfile: {error}.") from error
    if not commands:
        raise ConfigurationError(f"{path} names no process.")
    return commands


def _arguments(command: str) -> list[str]:
    first, *rest = shlex.split(command)
    return [sys.executable if first == "python" else first, *rest]
