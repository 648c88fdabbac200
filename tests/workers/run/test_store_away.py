"""The store is away, dies before its answer, or is full, at each call of each verb.

Every job ends as succeeded; no promise of quota, no staging and no manifest is left.
"""

import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from backends.entries import entries
from backends.quota import soft_of
from core.jobs.requests import (
    AssistRequest,
    CloneRequest,
    DeleteFilesRequest,
    DeleteRequest,
    ExtractRequest,
    PurgeRequest,
    Request,
    RescanRequest,
    RestoreRequest,
    TransferRequest,
    UsageRequest,
)
from core.jobs.store import JobStore
from core.names import VFolderId, VFolderPath
from core.redis import Database, connect
from tests.support.doors import settings_in
from tests.support.outage import answer_lost, away, full, outage
from tests.support.valkey import Valkey, running_valkey
from tests.workers.run.conftest import VOLUME, Site
from workers.node import Sweep

#: More calls than any job or sweep of so small a volume makes.
CALLS_MAX = 100
LEASE_SECONDS = 1.0


def usage(site: Site) -> Request:
    return UsageRequest(volume=VOLUME, vfolder=site.source)


def clone(site: Site) -> Request:
    return CloneRequest(volume=VOLUME, source=site.source, target=site.absent())


def transfer(site: Site) -> Request:
    return TransferRequest(volume=VOLUME, source=site.source, target=site.absent())


def copy_of_source(site: Site) -> str:
    """Another vfolder of the scope, counted."""
    target = site.absent()
    site.end(site.submit(CloneRequest(volume=VOLUME, source=site.source, target=target)))
    return target


def delete(site: Site) -> Request:
    return DeleteRequest(volume=VOLUME, vfolder=copy_of_source(site), keep_seconds=0)


def delete_files(site: Site) -> Request:
    vfolder = copy_of_source(site)
    paths = ["a", "sub"]
    return DeleteFilesRequest(volume=VOLUME, vfolder=vfolder, paths=paths, recursive=True)


def extract(site: Site) -> Request:
    vfolder = copy_of_source(site)  # it runs alone on its vfolder
    return ExtractRequest(
        volume=VOLUME, vfolder=vfolder, target="new", archive="tar", source="x.tar"
    )


def trashed(site: Site) -> tuple[str, str]:
    vfolder = copy_of_source(site)
    job = site.submit(DeleteRequest(volume=VOLUME, vfolder=vfolder, keep_seconds=3600))
    return vfolder, site.end(job).id


def restore(site: Site) -> Request:
    return RestoreRequest(volume=VOLUME, vfolder=trashed(site)[0])


def purge(site: Site) -> Request:
    vfolder, trash = trashed(site)
    return PurgeRequest(volume=VOLUME, vfolder=vfolder, trash=trash)


def rescan(site: Site) -> Request:
    return RescanRequest(volume=VOLUME)


def assist(site: Site) -> Request:
    return AssistRequest(volume=VOLUME, job=str(UUID(int=0)), number=0)


VERBS = (usage, rescan, clone, transfer, delete, delete_files, extract, restore, purge, assist)


def fail_each_call(
    site: Site, below: str, kind: Callable[..., None], request: Callable[[Site], Request]
) -> int:
    """Run a job of a verb for each of its calls of the store; return how many it makes."""
    for at in range(1, CALLS_MAX):
        job, runner = site.submit(request(site)), site.runner()
        with outage(below, at, kind) as failed:
            site.run(job, runner)
        site.end(job)
        site.clean()
        if failed.calls < at:
            return at - 1
    raise AssertionError("each run of the verb makes more calls than the one before")


CASES = [(verb, answer_lost) for verb in VERBS]
CASES += [(verb, away) for verb in (usage, clone, delete_files)]
CASES += [(verb, full) for verb in (rescan, delete, extract)]


@pytest.mark.parametrize(("verb", "kind"), CASES)
def test_a_verb_waits_for_the_store(
    site: Site, verb: Callable[[Site], Request], kind: Callable[..., None]
) -> None:
    assert fail_each_call(site, "_work", kind, verb) >= 1


@pytest.mark.parametrize("kind", [away, answer_lost, full])
def test_claim_and_end_wait_for_the_store(site: Site, kind: Callable[..., None]) -> None:
    assert fail_each_call(site, "__call__", kind, usage) >= 5


def test_a_sweep_is_put_off_while_the_store_is_away(site: Site) -> None:
    for at in range(1, CALLS_MAX):
        with outage("_sweep", at, away, math.inf) as failed:
            said = Sweep(site.settings, site.store, VOLUME)()
        if failed.calls < at:
            break
        assert "put off" in said
    assert failed.calls >= 3
    assert "put off" not in said


def test_a_full_store_is_waited_for_past_the_lease(tmp_path: Path, valkey: Valkey) -> None:
    """The real store refuses for longer than a lease; nothing fails, no loss is counted."""
    settings = settings_in(tmp_path, valkey.url, "[vfolder.jobs]\nlease-seconds = 1.0\n")
    with connect(settings, Database.JOBS) as client:
        site = Site(settings, JobStore(client, lambda _: None))
        site.store.set_slots(VOLUME, 9, 9)
        jobs = [site.submit(verb(site)) for verb in (usage, delete_files, clone)]
        client.config_set("maxmemory", "1")
        runs = [threading.Thread(target=site.run, args=(job, site.runner())) for job in jobs]
        try:
            for run in runs:
                run.start()
            threading.Event().wait(2 * LEASE_SECONDS)
        finally:
            client.config_set("maxmemory", "0")
        for run in runs:
            run.join()
        for job in jobs:
            site.end(job)
        site.clean()


@pytest.fixture
def synced_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A store of its own that syncs before each answer, so that kill -9 loses no answered call."""
    with running_valkey(tmp_path / "valkey", "--appendfsync", "always") as server:
        yield server


def test_the_store_dies_under_every_verb(tmp_path: Path, synced_valkey: Valkey) -> None:
    """Kill -9 and a start with its file, again and again while jobs of all verbs run.

    The rescan counts beside the others, so the figure may be too high until the next one.
    """
    settings = settings_in(tmp_path, synced_valkey.url)
    with connect(settings, Database.JOBS) as client:
        site = Site(settings, JobStore(client, lambda _: None))
        site.store.set_slots(VOLUME, 100, 100)
        run_all_verbs(site, synced_valkey)
        soft = soft_of(site.backend)
        assert soft
        settled_bytes = soft.ledger.read(site.scope.directory).settled_bytes
        assert settled_bytes is not None
        assert settled_bytes >= site.bytes_held
        site.end(site.submit(rescan(site)))
        site.clean()


def test_the_store_dies_and_the_figure_is_exact(tmp_path: Path, synced_valkey: Valkey) -> None:
    """The same without a count beside the others: nothing is settled twice, or not at all."""
    settings = settings_in(tmp_path, synced_valkey.url)
    with connect(settings, Database.JOBS) as client:
        site = Site(settings, JobStore(client, lambda _: None))
        site.store.set_slots(VOLUME, 100, 100)
        run_all_verbs(site, synced_valkey, rescan)
        site.clean()


def run_all_verbs(site: Site, valkey: Valkey, *without: Callable[[Site], Request]) -> None:
    jobs = [site.submit(verb(site)) for verb in VERBS if verb not in without]
    runs = [threading.Thread(target=site.run, args=(job, site.runner())) for job in jobs]
    for number, run in enumerate(runs):
        run.start()
        if number % 3 == 0:
            valkey.restart()
    for run in runs:
        run.join()
    for job in jobs:
        site.end(job)


@pytest.mark.parametrize("kind", [away, answer_lost, full])
def test_a_removal_at_a_door_settles_what_it_freed(site: Site, kind: Callable[..., None]) -> None:
    vfolder = VFolderId.parse(site.source)
    with outage("settle", 1, kind) as failed:
        entries.remove_entries(site.backend, vfolder, [VFolderPath.parse("a")], recursive=False)
    assert failed.calls >= 1
    assert not (site.path(site.source) / "a").exists()
    site.clean()
