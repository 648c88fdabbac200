"""Where the processes of a node keep their counters for Prometheus.

`prometheus_client` adds up the processes of one directory. Each door and worker has its own below
`<state-dir>/metrics/`, fresh at every start: counters of dead processes would be added for ever.
The internal door reads them all.
"""

import os
import shutil
from pathlib import Path

from core.settings import Settings

#: Read by `prometheus_client` when it is imported: set it before.
DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_SUFFIX = ".db"


def start_fresh(settings: Settings, process: str) -> Path:
    """Empty this process's directory and name it in the environment."""
    directory = settings.state_dir / "metrics" / process
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    os.environ[DIRECTORY_VARIABLE] = str(directory)
    return directory


def all_files(settings: Settings) -> list[Path]:
    """The counters of all processes of this node, for `MultiProcessCollector.merge`."""
    return sorted((settings.state_dir / "metrics").glob(f"*/*{_SUFFIX}"))
