"""Where the processes of a node keep their counters for Prometheus.

`prometheus_client` adds up the processes of one directory. Each door and worker has its own below
`<state-dir>/metrics/`, fresh at every start: counters of dead processes would be added for ever.
The internal door reads them all.
"""

import os
import shutil
from pathlib import Path

from core.errors import ConfigurationError
from core.settings import Settings

#: Read by `prometheus_client` when it is imported: set it before.
DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_SUFFIX = ".db"


def start_fresh(settings: Settings, process: str) -> Path:
    """Empty this process's directory and name it in the environment.

    Raises:
        ConfigurationError: it cannot be made; with what to do.
    """
    directory = settings.state_dir / "metrics" / process
    try:
        _open_to_all(settings.state_dir, directory.parent)
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir()
    except OSError as error:
        raise ConfigurationError(
            f"Cannot make {directory} anew ({error.strerror}): it, and what it is in, must belong "
            "to the user of this process; see [vfolder] state-dir."
        ) from error
    os.environ[DIRECTORY_VARIABLE] = str(directory)
    return directory


def _open_to_all(state: Path, room: Path) -> None:
    """Make the directory of all processes; root's belongs to whom the one around it belongs to."""
    room.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        owner = state.stat()
        os.chown(room, owner.st_uid, owner.st_gid)


def all_files(settings: Settings) -> list[Path]:
    """The counters of all processes of this node, for `MultiProcessCollector.merge`."""
    return sorted((settings.state_dir / "metrics").glob(f"*/*{_SUFFIX}"))
