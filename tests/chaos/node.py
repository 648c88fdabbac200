"""A worker process for chaos tests: the product's own, with one more verb, `exercise`.

An exercise does `items` small effects. Each effect appends one line to a ledger on the volume. The
line says which run did which item and when. So a checker can prove that every effect happened once
and that two runs never worked on one job at the same time. `--unsafe` switches off the deadline
check and the fence, to prove that the checker would notice.
"""

import os
import signal
import sys
import time
from typing import ClassVar

import msgspec

from core.jobs import Counter, Lane, requests
from core.jobs.requests import Request
from core.jobs.requests.base import Lock, lock_key
from core.names import VFolderId
from workers import runner, serve
from workers.run import Context, Outcome
from workers.run import context as contexts
from workers.run import run as runs

LEDGER = "ledger"
HOLD_POLL_SECONDS = 0.02


def hold_of(vfolder: str) -> str:
    """Return the file on the volume with which a test holds the exercise of a vfolder."""
    return f"hold-{VFolderId.parse(vfolder).id.hex}"


class ExerciseRequest(Request, frozen=True, kw_only=True, tag="exercise"):
    """Do `items` effects of `milliseconds` each, under the lock of a vfolder."""

    lane: ClassVar[Lane] = Lane.BULK
    vfolder: str
    items: int
    milliseconds: int = 20
    #: The item that kills its process every time.
    deadly: int = -1
    #: Before this item it waits while the file `hold_of` its vfolder is on the volume.
    held_at: int = -1

    def locks(self) -> list[Lock]:
        return [(lock_key(self.volume, self.vfolder), "exclusive")]

    def scope(self) -> str:
        return str(VFolderId.parse(self.vfolder).scope)


class Exercise:
    """One run of an exercise."""

    def __init__(self, context: Context, request: ExerciseRequest) -> None:
        self._context = context
        self._run = context.run
        self._request = request

    def __call__(self) -> Outcome:
        vfolder = VFolderId.parse(self._request.vfolder)
        root = self._context.root(self._request.volume)
        self._context.manifest(root, vfolder.scope)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        ledger = os.open(f"{LEDGER}-{self._run.job.id}", flags, 0o600, dir_fd=root)
        done = {int(line.split()[1]) for line in self._lines(ledger)}
        self._run.phase("exercise")
        self._run.expect(items=self._request.items)
        self._run.count(Counter.COPIED, len(done))
        for item in range(self._request.items):
            if item in done:
                continue
            if item == self._request.held_at:
                self._wait(root)
            self._run.check()
            if item == self._request.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            began = time.clock_gettime(time.CLOCK_MONOTONIC)
            time.sleep(self._request.milliseconds / 1000)
            ended = time.clock_gettime(time.CLOCK_MONOTONIC)
            os.write(ledger, f"{self._run.id} {item} {began:.6f} {ended:.6f}\n".encode())
            self._run.count(Counter.COPIED, 1)
        os.close(ledger)
        return Outcome("exercised", {"items": self._request.items})

    def _wait(self, root: int) -> None:
        while hold_of(self._request.vfolder) in os.listdir(root):
            self._run.check()
            time.sleep(HOLD_POLL_SECONDS)

    @staticmethod
    def _lines(ledger: int) -> list[str]:
        return os.pread(ledger, os.fstat(ledger).st_size, 0).decode().splitlines()

    def undo(self) -> None:
        """Keep the ledger: the checker reads it."""


def _unsafe() -> None:
    def no_fence(*_: object) -> None:
        return

    def no_check(_run: runs.Run) -> None:
        return

    contexts.flock = no_fence  # the checker must notice exactly this
    runs.Run.check = no_check  # type: ignore[method-assign] # same


def main(arguments: list[str]) -> int:
    requests.VERBS["exercise"] = ExerciseRequest
    runner.VERBS["exercise"] = Exercise
    if "--unsafe" in arguments:
        _unsafe()
    return serve.main(["worker"])


if __name__ == "__main__":
    assert msgspec.__version__
    sys.exit(main(sys.argv[1:]))
