"""Which volumes must be mount points (`[vfolder.mounts] require-mount`), checked at the start.

It imports no metrics: the processes check this before `prometheus_client` may be imported.
"""

import threading
from pathlib import Path

from backends.fs import descriptors, linux
from core.errors import NotYetThere
from core.settings import Settings


def check_mounts(settings: Settings, only: str | None = None) -> None:
    """Check that the volumes of `[vfolder.mounts] require-mount` are mount points; for the start.

    Those that the node does not serve are left out. `only` names one volume to check. A mount that
    hangs is one: it is given `[vfolder.worker] prove-timeout` to answer.

    Raises:
        NotYetThere: one is not; the sentence names it.
    """
    mounts = settings.vfolder.mounts
    for name, table in settings.volume.items():
        if only not in (None, name) or not settings.vfolder.worker.serves(name):
            continue
        path = settings.volume_path(table)
        if mounts.requires(name) and not _is_mounted(path, settings.vfolder.worker.prove_timeout):
            raise NotYetThere(
                f"[volume.{name}] path {path} is no mount point: mount the volume, or take it "
                "from [vfolder.mounts] require-mount."
            )


def _is_mounted(path: Path, patience_seconds: float) -> bool:
    found = [True]  # while it does not answer
    thread = threading.Thread(target=lambda: found.insert(0, _is_mount(path)), daemon=True)
    thread.start()
    thread.join(patience_seconds)
    return found[0]


def _is_mount(path: Path) -> bool:
    try:
        with descriptors.opened(str(path)) as top:
            return linux.is_mount_root(top)
    except OSError:
        return False
