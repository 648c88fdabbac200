"""The files where the processes of a node keep their counters for Prometheus.

`prometheus_client` adds up the processes of one directory. Each door and worker has a directory of
its own below `<state-dir>/metrics/`, empty at every start: otherwise the counters of dead processes
would be added for ever. The internal door reads all directories.
"""

import errno
import os
import shutil
from pathlib import Path

from core.errors import ConfigurationError, NotYetThere
from core.settings import Settings

#: `prometheus_client` reads it when it is imported: set it before.
DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_SUFFIX = ".db"
#: Faults of the disk: a later start may succeed.
_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


def start_fresh(settings: Settings, process: str) -> Path:
    """Empty the directory of this process, name it in the environment and return it.

    Raises:
        ConfigurationError: the directory cannot be created; the message says what to do.
    """
    directory = settings.state_dir / "metrics" / process
    try:
        _open_to_all(settings.state_dir, directory.parent)
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir()
    except OSError as error:
        kind = NotYetThere if error.errno in _PASSING else ConfigurationError
        raise kind(
            f"Cannot create {directory} ({error.strerror}): it and its parent must belong to the "
            "user of this process; see [vfolder] state-dir."
        ) from error
    os.environ[DIRECTORY_VARIABLE] = str(directory)
    return directory


def _open_to_all(state: Path, parent: Path) -> None:
    """Create the directory of all processes; one that root creates gets the owner of `state`."""
    parent.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        owner = state.stat()
        os.chown(parent, owner.st_uid, owner.st_gid)


def all_files(settings: Settings) -> list[Path]:
    """Return the files of all processes of this node, for `MultiProcessCollector.merge`.

    An empty file is one that a starting process has created and not yet filled (prometheus_client
    creates it and sets its length afterwards). The library cannot read it; the list omits it.
    """
    files = sorted((settings.state_dir / "metrics").glob(f"*/*{_SUFFIX}"))
    return [path for path in files if _has_content(path)]


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:  # a restarted door removed it
        return False
