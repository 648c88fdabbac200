"""One copy over two nodes: the other node helps, and has stopped before anything is published."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from backends.fs import layout
from core.jobs import Job, State
from core.jobs.requests import TransferRequest
from core.names import VFolderId
from tests.chaos.check import differences, leftovers
from tests.chaos.site import VOLUME, Setup, Site
from tests.support.cable import laid
from tests.support.node import gone, wait_for
from tests.support.valkey import Valkey
from workers.verbs.transfer.helpers import TREE

FILES = 1500
#: Slow enough that the other node helps on a busy machine, too.
BYTES_PER_SECOND = 60_000
#: Number of files that are staged before a helper is stopped.
STAGED = FILES // 8
#: A look at all staged files is dear: there are no more in a second.
LOOKS_PER_SECOND = 2.0


@contextmanager
def slow(site: Site) -> Iterator[Callable[[], None]]:
    """A volume so slow that the other node has time to help; call the result to lift the limit."""

    def lift() -> None:
        site.budgets.set(VOLUME, None)

    site.budgets.set(VOLUME, BYTES_PER_SECOND)
    try:
        yield lift
    finally:
        lift()


def transfer(site: Site, source: VFolderId, target: VFolderId) -> Job:
    return site.submit(TransferRequest(volume=VOLUME, source=str(source), target=str(target)))


def helper_of(site: Site, job: Job) -> Job:
    """Return the job that helps another."""

    def look() -> Job | None:
        ids = site.client.zrange("vf:ix:verb:assist", 0, -1)
        jobs = [site.store.get(str(name)) for name in ids]
        return next((one for one in jobs if one.member("request")["job"] == job.id), None)

    return wait_for(look, 60) or job


def at_work(site: Site, job: Job) -> Job:
    """The helper's job, once it runs on the other node and has copied something."""
    helper = helper_of(site, job)

    def look() -> bool:
        record = site.look(helper)
        apart = record.fields.get("node") != site.look(job).fields.get("node")
        progress = record.member("progress") or {}
        return record.state is State.RUNNING and apart and bool(progress.get("done_items"))

    wait_for(look, 60, site.story(helper))
    return helper


def staged_of(site: Site, job: Job, target: VFolderId) -> Path:
    """The tree into which a transfer and its helper copy."""
    assert target.scope is not None
    return site.volume / layout.staging(target.scope, job.id) / TREE


def nothing_left(site: Site, *jobs: Job) -> None:
    wait_for(lambda: not [path for job in jobs for path in leftovers(site.volume, job.id)])


def shared_by_two_nodes(site: Site, submit: Callable[[Site, VFolderId, VFolderId], Job]) -> None:
    """Check that the other node does a part of a copy."""
    source, target = site.filled(FILES), site.vfolder()
    with slow(site):
        job = submit(site, source, target)
        helper = at_work(site, job)
    ended = site.wait_for_end(job)
    assert ended.state is State.SUCCEEDED, ended.document()
    assert ended.member("result")["files"] == FILES
    helped = site.wait_for_end(helper)
    assert helped.state in (State.SUCCEEDED, State.CANCELLED)
    paths = (site.backend.vfolder_path(vfolder) for vfolder in (source, target))
    assert differences(*paths) == ""
    nothing_left(site, job, helper)


def test_two_nodes_share_one_transfer(two_nodes: Site) -> None:
    shared_by_two_nodes(two_nodes, transfer)


def test_two_nodes_share_one_clone(two_nodes: Site) -> None:
    shared_by_two_nodes(two_nodes, Site.clone)


def test_cancelled_on_one_node_the_other_stops_too(two_nodes: Site) -> None:
    site = two_nodes
    before = {worker.name: len(worker.output) for worker in site.workers}
    source, target = site.filled(FILES), site.vfolder()
    with slow(site):
        job = transfer(site, source, target)
        helper = at_work(site, job)
        site.store.cancel(job.id)
        assert site.wait_for_end(job).state is State.CANCELLED
        assert site.wait_for_end(helper).state.ended
    assert not site.backend.vfolder_path(target).exists()
    nothing_left(site, job)
    assert not any("by a defect" in w.output[before[w.name] :] for w in site.workers)


@contextmanager
def frozen(site: Site, helper: Job) -> Iterator[list[psutil.Process]]:
    """Stop the process of the helper and those below it until the block ends."""
    run = site.process_of(helper)
    processes = [run, *run.children(recursive=True)]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        yield processes
    finally:
        wake(processes)


@contextmanager
def frozen_while_it_writes(site: Site, helper: Job) -> Iterator[list[psutil.Process]]:
    """As `frozen`, at its next record: it holds the lock that every writer of a record needs."""
    run = site.process_of(helper)
    processes = [run, *run.children(recursive=True)]
    stop = ["-e", "trace=pwrite64", "-e", "inject=pwrite64:signal=STOP:when=1"]
    trace = site.directory / f"stopped-{helper.id}"
    command = ["strace", "-qq", "-o", trace, "-p", f"{run.pid}", *stop]
    with subprocess.Popen(command) as tracer:
        try:
            wait_for(lambda: trace.exists() and "stopped by SIGSTOP" in trace.read_text(), 300)
            yield processes
        finally:
            tracer.terminate()


def wake(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def state_of(path: Path) -> dict[str, tuple[int, ...]]:
    """Return all that a write would change: inode, size, times of content and of attributes."""
    state = {}
    for directory, names, files in os.walk(path):
        for name in (".", *names, *files):
            with suppress(FileNotFoundError):
                status = os.lstat(os.path.join(directory, name))
                facts = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                state[os.path.relpath(os.path.join(directory, name), path)] = facts
    return state


def outlived(site: Site, job: Job, target: VFolderId) -> dict[str, tuple[int, ...]]:
    """Wait for the success of a transfer whose helper hangs; return what both staged."""
    staged = staged_of(site, job, target)
    shared: dict[str, tuple[int, ...]] = {}
    next_look = 0.0

    def over() -> bool:
        nonlocal next_look
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + 1 / LOOKS_PER_SECOND
            shared.update(state_of(staged))
        return site.look(job).state.ended

    wait_for(over, 120, site.story(job))
    ended = site.look(job)
    assert ended.state is State.SUCCEEDED, ended.document()
    assert ended.member("result")["files"] == FILES
    return shared


def test_a_helper_that_hangs_is_left_behind_and_writes_nothing_when_it_wakes(
    two_nodes: Site,
) -> None:
    site = two_nodes
    source, target = site.filled(FILES), site.vfolder()
    published = site.backend.vfolder_path(target)
    with slow(site) as lift:
        job = transfer(site, source, target)
        helper = at_work(site, job)
        wait_for(lambda: len(state_of(staged_of(site, job, target))) > STAGED, 120)
        with frozen(site, site.look(helper)) as stopped:
            lift()
            shared = outlived(site, job, target)
            assert not gone([one.pid for one in stopped]), "it still hangs"
            before = state_of(published)
    assert site.wait_for_end(helper).state.ended
    wait_for(lambda: gone([process.pid for process in stopped[1:]]))
    assert state_of(published) == before, "no process wrote to what was published"
    assert differences(site.backend.vfolder_path(source), published) == ""
    moved = sum(shared[name][0] == before[name][0] for name in shared)
    assert moved > len(shared) // 10, "completed parts were moved, not copied again"
    nothing_left(site, job, helper)


@pytest.mark.part("strace")
def test_a_helper_that_hangs_amid_a_record_blocks_no_other_writer(two_nodes: Site) -> None:
    site = two_nodes
    source, target = site.filled(FILES), site.vfolder()
    published = site.backend.vfolder_path(target)
    with slow(site) as lift:
        job = transfer(site, source, target)
        helper = at_work(site, job)
        with frozen_while_it_writes(site, site.look(helper)) as stopped:
            lift()
            outlived(site, job, target)
            before = state_of(published)
            wake(stopped)
    assert site.wait_for_end(helper).state.ended
    assert state_of(published) == before, "no process wrote to what was published"
    assert differences(site.backend.vfolder_path(source), published) == ""
    nothing_left(site, job, helper)


def test_a_transfer_is_cancelled_though_its_helper_hangs(two_nodes: Site) -> None:
    site = two_nodes
    source, target = site.filled(FILES), site.vfolder()
    with slow(site):
        job = transfer(site, source, target)
        helper = at_work(site, job)
        with frozen(site, site.look(helper)):
            site.store.cancel(job.id)
            assert site.wait_for_end(job).state is State.CANCELLED
    assert site.wait_for_end(helper).state.ended
    assert not site.backend.vfolder_path(target).exists()
    nothing_left(site, job)


def test_a_helper_that_is_cut_off_from_the_store_stops(
    tmp_path_factory: pytest.TempPathFactory, valkey_alone: Valkey
) -> None:
    with laid(valkey_alone.port) as one, laid(valkey_alone.port) as other:
        cables = {"one": one, "other": other}
        urls = {
            name: valkey_alone.url.replace(str(valkey_alone.port), str(cable.port))
            for name, cable in cables.items()
        }
        setups = {name: Setup(store=url) for name, url in urls.items()}
        site = Site(tmp_path_factory.mktemp("cut"), valkey_alone, 5, setups=setups)
        site.start()
        try:
            site.wait_for_nodes(*cables)
            source, target = site.filled(FILES), site.vfolder()
            published = site.backend.vfolder_path(target)
            with slow(site):
                job = transfer(site, source, target)
                helper = at_work(site, job)
                cable = cables[site.look(helper).fields["node"]]
                cable.cut()
            outlived(site, job, target)
            before = state_of(published)
            cable.mend()
            assert site.wait_for_end(helper).state.ended
            site.wait_for_nodes(*cables)
            assert state_of(published) == before, "no process wrote to what was published"
            assert differences(site.backend.vfolder_path(source), published) == ""
            assert not any("staged tree left" in worker.output for worker in site.workers)
        finally:
            one.mend()
            other.mend()
            site.stop()
