"""A helper process dies amid any batch of any verb: the attempt is lost, the next one completes."""

import mmap
import os
import signal
import struct
from collections.abc import Callable
from typing import Any

import pytest

from backends.fs import layout
from backends.tree.processes import helper_pool, helper_process
from core.jobs import Job, State
from core.names import VFolderId
from tests.support.trees import snapshot
from tests.workers.ends.conftest import Bench, new_scope

FILES, DIRECTORIES = 120, 8
_COUNT = struct.Struct("Q")


class Deaths:
    """Ends the helper process that gets the batch of a number; counts the batches of all."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self.at, self.signal = 0, signal.SIGKILL
        parent, receive = os.getpid(), helper_process.receive

        def received(connection: Any) -> Any:
            message = receive(connection)
            if message is not None and os.getpid() != parent:
                self.count += 1
                if self.count == self.at:
                    os.kill(os.getpid(), self.signal)
            return message

        patch.setattr(helper_process, "receive", received)
        # As where a thread cannot have a umask of its own: processes do everything.
        patch.setattr(helper_pool, "threads_fit", lambda: False)

    @property
    def count(self) -> int:
        found: int = _COUNT.unpack_from(self._page)[0]
        return found

    @count.setter
    def count(self, number: int) -> None:
        self._page[: _COUNT.size] = _COUNT.pack(number)


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> Deaths:
    return Deaths(monkeypatch)


def tree(bench: Bench) -> str:
    vfolder = bench.absent()
    top = bench.path(vfolder)
    for number in range(DIRECTORIES):
        (top / f"d{number}").mkdir(parents=True)
    for number in range(FILES):
        (top / f"d{number % DIRECTORIES}" / f"f{number}").write_bytes(b"x" * number)
    return str(vfolder)


def cloned(bench: Bench) -> dict[str, Any]:
    return {"source": tree(bench), "target": str(bench.absent()), "verify": "checksum"}


def over(bench: Bench) -> dict[str, Any]:
    target = str(bench.folder())
    return {"source": tree(bench), "target": target, "on_conflict": "replace", "verify": "size"}


def entries(bench: Bench) -> dict[str, Any]:
    return {"vfolder": tree(bench), "paths": ["d1", "d2"], "recursive": True}


def whole(bench: Bench) -> dict[str, Any]:
    return {"vfolder": tree(bench)}


def into_trash(bench: Bench) -> dict[str, Any]:
    return {"vfolder": tree(bench), "keep_seconds": 1000}


def trashed(bench: Bench) -> dict[str, Any]:
    request = into_trash(bench)
    return {"vfolder": request["vfolder"], "trash": bench.done("delete", **request).id}


def nothing(bench: Bench) -> dict[str, Any]:
    tree(bench)
    return {"owner": str(bench.scope)}


CASES: dict[str, tuple[str, Callable[[Bench], dict[str, Any]]]] = {
    "clone": ("clone", cloned),
    "transfer": ("transfer", over),
    "delete": ("delete", whole),
    "delete into the trash": ("delete", into_trash),
    "delete-files": ("delete-files", entries),
    "usage": ("usage", whole),
    "purge": ("purge", trashed),
    "rescan": ("rescan", nothing),
}


@pytest.mark.parametrize("case", CASES)
def test_a_job_survives_the_death_of_a_helper(bench: Bench, deaths: Deaths, case: str) -> None:
    verb, made = CASES[case]
    request = made(bench)
    deaths.count = 0
    expected = bench.done(verb, **request)
    assert expected.state is State.SUCCEEDED, expected.document()
    batches = deaths.count
    assert batches
    signals = signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS
    for at, deaths.signal in zip((1, (batches + 1) // 2, batches), signals, strict=True):
        bench.scope = new_scope()
        bench.backend.set_limit(bench.scope, 64 << 20)
        request = made(bench)
        job = bench.submit(verb, **request)
        deaths.count, deaths.at = 0, at
        lost = bench.run(job)
        died = deaths.count >= at
        deaths.at = 0
        if died and lost.state is not State.SUCCEEDED:  # it died before the publication
            assert lost.state is State.QUEUED, lost.document()
            assert int(lost.fields["losses"]) == 1
            if verb in ("clone", "transfer"):
                assert bench.hidden(layout.STAGING) != []  # the next run continues with it
        elif died:
            bench.sweep()  # it died as it removed what is left of the staging
        ended = bench.run(job)
        assert ended.state is State.SUCCEEDED, ended.document()
        assert result(ended) == result(expected)
        assert bench.left() == {}
        if verb == "clone":
            pair = [bench.path(VFolderId.parse(request[s])) for s in ("source", "target")]
            assert snapshot(pair[0]) == snapshot(pair[1])


def result(job: Job) -> dict[str, Any]:
    """The numbers of a result."""
    found = job.member("result") or {}
    numbers = {name: value for name, value in found.items() if isinstance(value, int)}
    numbers.pop("skipped", None)  # entries that the lost attempt deleted
    return numbers


def test_a_job_whose_helpers_always_die_ends_as_poison_and_leaves_nothing(
    bench: Bench, deaths: Deaths
) -> None:
    job = bench.submit("clone", **cloned(bench))
    for _ in range(bench.settings.vfolder.jobs.max_losses + 1):
        assert not bench.store.get(job.id).state.ended
        deaths.count, deaths.at = 0, 1
        ended = bench.run(job)
    assert ended.state is State.FAILED
    error = ended.member("error") or {}
    assert (error["code"], error["retriable"]) == ("poison", False)
    bench.sweep()
    assert bench.left() == {}
    assert bench.hidden(layout.JOBS) == []


def test_memory_that_ran_out_in_a_helper_is_its_death(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, receive = os.getpid(), helper_process.receive

    def exhausted(connection: Any) -> Any:
        if os.getpid() != parent:
            raise MemoryError
        return receive(connection)

    with monkeypatch.context() as patch:
        patch.setattr(helper_process, "receive", exhausted)
        patch.setattr(helper_pool, "threads_fit", lambda: False)
        job = bench.submit("usage", **whole(bench))
        assert bench.run(job).state is State.QUEUED
    assert bench.run(job).state is State.SUCCEEDED
