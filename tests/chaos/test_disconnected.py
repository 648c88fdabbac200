"""What a job holds of its volume becomes stale: the job goes on with what is mounted now."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.jobs import State
from tests.chaos.check import differences
from tests.chaos.every_verb import FILES, every_verb, path_of, succeeded
from tests.chaos.site import VOLUME, Setup, Site
from tests.support.brittlefs import BrittleFS, Rule, mounted
from tests.support.node import wait_for
from tests.support.valkey import Valkey

pytestmark = [pytest.mark.part("fuse"), pytest.mark.part("rsync")]

#: A run is amid its verb after so many calls of the file system.
CALLS = (10, 25, 60)


@pytest.fixture
def site_and_volume(tmp_path: Path, valkey_alone: Valkey) -> Iterator[tuple[Site, BrittleFS]]:
    with mounted(tmp_path) as volume:
        setups = {"one": Setup(path=volume.path, worker="prove-seconds = 0.5")}
        site = Site(tmp_path, valkey_alone, 5, setups=setups, volume=volume.backing)
        site.start()
        try:
            site.wait_for_nodes("one")
            yield site, volume
        finally:
            volume.heal()
            site.stop()


def test_jobs_go_on_after_the_file_system_was_connected_anew(
    site_and_volume: tuple[Site, BrittleFS],
) -> None:
    """Each is amid its verb when the file system ends; what it holds of it never works again."""
    site, volume = site_and_volume
    requests = every_verb(site)
    source, target = site.filled(FILES), site.vfolder()
    jobs = []
    for number in range(len(requests) + 1):
        volume.rules(Rule(hang=True, after=CALLS[number % len(CALLS)]))
        request = requests[number][0] if number < len(requests) else None
        jobs.append(site.submit(request) if request else site.clone(source, target))
        volume.wait_for_hit()
        with volume.disconnected():
            pass  # a moment: nothing else notices it
        ended = succeeded(site, jobs[-1])
        assert ended.losses == 0
    assert all(done() for _, done in requests)
    assert differences(path_of(site, source), path_of(site, target)) == ""


def test_a_job_waits_while_its_file_system_is_disconnected(
    site_and_volume: tuple[Site, BrittleFS],
) -> None:
    site, volume = site_and_volume
    source, target = site.filled(FILES), site.vfolder()
    volume.rules(Rule("write", "*/staging/*", hang=True, after=3))
    job = site.clone(source, target)
    volume.wait_for_hit()
    with volume.disconnected():
        wait_for(lambda: not next(iter(site.nodes.all()))["volumes"][VOLUME]["proven"])
        wait_for(lambda: site.look(job).state is State.QUEUED)
    succeeded(site, job)
    assert differences(path_of(site, source), path_of(site, target)) == ""
