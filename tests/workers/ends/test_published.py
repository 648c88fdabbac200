"""A run dies around the one rename that publishes; the next run knows whose the target is."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from core.jobs import Job, State
from tests.workers.ends.conftest import FILES, Bench
from workers.run import Manifest
from workers.verbs import Clone
from workers.verbs.transfer import Transfer

#: More losses than any job here has.
LOSSES_MAX = 10


def killed(bench: Bench, job: Job, arm: Callable[[], None]) -> None:
    """One attempt in a process that dies; the job goes back to its queue."""
    child = os.fork()
    if child == 0:
        try:
            arm()
            bench.run(job)
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] != 0, "it did not die"
    bench.store.lose(job.id, bench.store.get(job.id).run, "killed", LOSSES_MAX)
    assert bench.store.get(job.id).state is State.QUEUED


@pytest.mark.parametrize("verb", ["clone", "transfer"])
def test_what_another_made_in_place_of_the_target_is_not_the_result(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """The run dies after it noted the publication and before it renamed."""
    target, mark = bench.absent(), Manifest.mark

    def noted(self: Manifest, kind: str, **facts: Any) -> None:
        mark(self, kind, **facts)
        if kind == "publish":
            os._exit(1)

    job = bench.submit(verb, source=str(bench.folder()), target=str(target))
    killed(bench, job, lambda: monkeypatch.setattr(Manifest, "mark", noted))
    bench.path(target).mkdir(parents=True)
    (bench.path(target) / "other").write_bytes(b"of another")
    ended = bench.run(job)
    assert ended.state is State.FAILED, ended.document()
    assert os.listdir(bench.path(target)) == ["other"]
    assert bench.left() == {}


@pytest.mark.parametrize(("verb", "kind"), [("clone", Clone), ("transfer", Transfer)])
def test_what_a_dead_run_published_is_the_result(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, verb: str, kind: type[Transfer]
) -> None:
    """The run dies after it renamed."""
    target = bench.absent()
    job = bench.submit(verb, source=str(bench.folder()), target=str(target))
    killed(bench, job, lambda: monkeypatch.setattr(kind, "_clear", lambda *_: os._exit(1)))
    assert bench.path(target).is_dir()
    ended = bench.run(job)
    assert ended.state is State.SUCCEEDED, ended.document()
    assert {name: (bench.path(target) / name).read_bytes() for name in FILES} == FILES
    assert bench.left() == {}
