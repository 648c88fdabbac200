"""What has become due on a volume: trash that expired, a rescan. Each becomes a job.

Called by the sweep, on any node and any number of times: a job that is asked for twice is one.
"""

import os

from backends import descriptors, layout, trash
from backends.posix import PosixBackend
from core.request import Request
from core.settings import Settings
from core.store import JobStore, Submission
from core.upkeep_requests import PurgeRequest

#: Purges that one sweep asks for; the next takes the rest.
PURGES_MAX = 200
#: Who asks, as lists of jobs show it.
REQUESTER = "sweep"


class Due:
    """One look at one volume."""

    def __init__(self, settings: Settings, store: JobStore, backend: PosixBackend) -> None:
        self._settings = settings
        self._store = store
        self._backend = backend
        self._volume = backend.mount.volume

    def __call__(self) -> int:
        """Ask for what is due; how many jobs."""
        return self._purges()

    def _purges(self) -> int:
        asked = 0
        with self._backend.root() as root:
            for scope in layout.scopes(root):
                room = layout.scope_area(scope, layout.TRASH)
                try:
                    with descriptors.opened(room, root) as trashed:
                        asked += self._expired(trashed, PURGES_MAX - asked)
                except (FileNotFoundError, NotADirectoryError):
                    continue
        return asked

    def _expired(self, room: int, most: int) -> int:
        if not os.listdir(room):
            return 0
        at = trash.clock(room)
        over = [note for note in trash.notes(room) if note.purging or note.expires_at <= at]
        for note in over[:most]:
            self._ask(PurgeRequest(volume=self._volume, vfolder=note.vfolder, trash=note.id))
        return min(len(over), most)

    def _ask(self, request: Request) -> None:
        jobs = self._settings.vfolder.jobs
        self._store.submit(
            Submission(request, requester=REQUESTER, ring_again_seconds=jobs.ring_again_seconds)
        )
