"""Real file systems, each a volume, and a store for jobs between them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from api.jobs.doorbell import ringer
from core.jobs.store import JobStore
from core.names import VFolderId
from core.redis import Database, connect
from core.settings import Settings
from tests.support.doors import settings_in
from tests.support.loops import mounted
from tests.support.valkey import Valkey

MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-i", "8192"],
    "xfs": ["mkfs.xfs", "-q"],
    "btrfs": ["mkfs.btrfs", "-q", "-m", "single"],
}


@dataclass
class Disks:
    """The volumes are named as their file systems."""

    settings: Settings
    store: JobStore

    def path(self, volume: str, vfolder: VFolderId) -> Path:
        return self.settings.directory / volume / "top" / vfolder.directory


def new_vfolder() -> VFolderId:
    """The id of a vfolder, in a scope of its own; nothing is made."""
    return VFolderId.parse(f"user:{uuid4()}/{uuid4().hex}")


@contextmanager
def mounted_disks(
    directory: Path, valkey: Valkey, kinds: tuple[str, ...], *, size_bytes: int, jobs: str = ""
) -> Iterator[Disks]:
    """A disk of that size per kind; `jobs` are more lines of `[vfolder.jobs]`."""
    more = "".join(f'[volume.{kind}]\nbackend = "vfs"\npath = "{kind}/top"\n' for kind in kinds)
    with ExitStack() as held:
        for kind in kinds:
            held.enter_context(mounted(directory / kind, MAKE[kind], size_bytes=size_bytes))
        more += f"[vfolder.jobs]\nlease-seconds = 10.0\n{jobs}\n"
        settings = settings_in(directory, valkey.url, more)
        client = held.enter_context(connect(settings, Database.JOBS))
        yield Disks(settings, JobStore(client, ringer(settings)))
