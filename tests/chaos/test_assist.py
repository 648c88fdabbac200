"""One transfer over two nodes: the other one helps, and is gone before anything is published."""

from core.jobs import Job, State
from core.names import VFolderId
from core.transfers import TransferRequest
from tests.chaos.check import differences, leftovers
from tests.chaos.site import VOLUME, Site
from tests.support.node import wait_for

FILES = 3000
#: Slow enough for the other node to come.
BYTES_PER_SECOND = 1_500_000


def transfer(site: Site, source: VFolderId, target: VFolderId) -> Job:
    return site.submit(TransferRequest(volume=VOLUME, source=str(source), target=str(target)))


def helper_of(site: Site, job: Job) -> Job:
    """The job that helps another."""

    def look() -> Job | None:
        ids = site.client.zrange("vf:ix:verb:assist", 0, -1)
        jobs = [site.store.get(str(name)) for name in ids]
        return next((one for one in jobs if one.member("request")["job"] == job.id), None)

    return wait_for(look, 30) or job


def at_work(site: Site, job: Job) -> Job:
    """The job once it runs on another node than the one it helps, and has done something."""

    def look() -> bool:
        helper = site.look(helper_of(site, job))
        apart = helper.fields.get("node") != site.look(job).fields.get("node")
        progress = helper.member("progress") or {}
        return helper.state is State.RUNNING and apart and bool(progress.get("done_items"))

    wait_for(look, 60, site.story(helper_of(site, job)))
    return helper_of(site, job)


def test_two_nodes_share_one_transfer(two_nodes: Site) -> None:
    site = two_nodes
    source, target = site.filled(FILES), site.vfolder()
    site.store.set_bandwidth(VOLUME, BYTES_PER_SECOND)
    try:
        job = transfer(site, source, target)
        helper = at_work(site, job)
    finally:
        site.store.set_bandwidth(VOLUME, None)
    ended = site.wait_for_end(job)
    assert ended.state is State.SUCCEEDED, ended.document()
    assert ended.member("result")["files"] == FILES
    helped = site.wait_for_end(helper)
    assert helped.state in (State.SUCCEEDED, State.CANCELLED)
    paths = (site.backend.vfolder_path(vfolder) for vfolder in (source, target))
    assert differences(*paths) == ""


def test_cancelled_on_one_node_the_other_lets_go(two_nodes: Site) -> None:
    site = two_nodes
    source, target = site.filled(FILES), site.vfolder()
    site.store.set_bandwidth(VOLUME, BYTES_PER_SECOND)
    try:
        job = transfer(site, source, target)
        helper = at_work(site, job)
        site.store.cancel(job.id)
        assert site.wait_for_end(job).state is State.CANCELLED
        assert site.wait_for_end(helper).state.ended
    finally:
        site.store.set_bandwidth(VOLUME, None)
    assert not site.backend.vfolder_path(target).exists()
    assert leftovers(site.volume) == []
