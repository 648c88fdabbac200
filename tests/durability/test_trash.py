"""Deletes, restores and purges at every power failure: nothing is lost before its time."""

import pytest

from backends.entries import access_files
from backends.fs import layout
from core.jobs import Job, State
from core.jobs.requests import DeleteFilesRequest, DeleteRequest, PurgeRequest, RestoreRequest
from core.names import VFolderId
from tests.durability.site import VOLUME, Site
from tests.support.trees import attributes

pytestmark = pytest.mark.part("fuse")

KEEP_SECONDS = 3600.0


def delete(vfolder: VFolderId, keep_seconds: float = KEEP_SECONDS) -> DeleteRequest:
    return DeleteRequest(volume=VOLUME, vfolder=str(vfolder), keep_seconds=keep_seconds)


def restore(vfolder: VFolderId) -> RestoreRequest:
    return RestoreRequest(volume=VOLUME, vfolder=str(vfolder))


def test_a_delete_into_the_trash(site: Site) -> None:
    vfolder = site.filled(1)
    wanted = attributes(site.path(vfolder))

    def right(job: Job) -> None:
        if job.state is not State.SUCCEEDED:
            assert site.path(vfolder).exists() or job.id in site.left("trash")
        else:
            assert not site.path(vfolder).exists()
            assert site.left("trash") == [job.id, f"{job.id}.note"]
        facts = site.resumed(job).member("result")["trash"]
        assert not site.path(vfolder).exists()
        assert facts["restorable"]
        site.succeeded(restore(vfolder))
        assert attributes(site.path(vfolder)) == wanted

    site.crash_amid(delete(vfolder), right)


def test_a_delete_for_good(site: Site) -> None:
    vfolder, other = site.filled(1), site.filled(2)
    wanted = attributes(site.path(other))

    def right(job: Job) -> None:
        if job.state is State.SUCCEEDED:
            assert not site.path(vfolder).exists()
            assert site.left("trash") == []
        site.resumed(job)
        assert not site.path(vfolder).exists()
        assert attributes(site.path(other)) == wanted

    site.crash_amid(delete(vfolder, 0.0), right)


def test_a_restore(site: Site) -> None:
    vfolder = site.filled(1)
    wanted = attributes(site.path(vfolder))
    deleted = site.succeeded(delete(vfolder))

    def right(job: Job) -> None:
        back = site.path(vfolder).exists()
        assert back != (deleted.id in site.left("trash"))
        assert not back or attributes(site.path(vfolder)) == wanted
        if job.state is State.SUCCEEDED:
            assert back
            assert site.left("trash") == []
            return
        site.resumed(job)
        assert attributes(site.path(vfolder)) == wanted
        assert site.left("trash") == []

    site.crash_amid(restore(vfolder), right)


def test_a_purge(site: Site) -> None:
    vfolder = site.filled(1)
    before = attributes(site.path(vfolder))
    deleted = site.succeeded(delete(vfolder))

    def right(job: Job) -> None:
        if job.state is State.SUCCEEDED:
            assert site.left("trash") == []
            return
        record = site.trashed(vfolder)
        if record is not None:  # a tree that can be restored is whole
            assert attributes(site.hidden("trash") / deleted.id) == before
        site.resumed(job)
        assert site.left("trash") == []

    site.crash_amid(PurgeRequest(volume=VOLUME, vfolder=str(vfolder), trash=deleted.id), right)


def record_of(site: Site, vfolder: VFolderId) -> bytes | None:
    path = site.volume.path / layout.record(vfolder)
    return path.read_bytes() if path.exists() else None


def test_a_restored_vfolder_always_has_its_record(site: Site) -> None:
    """Without it, the vfolder would fall back to the owner of its scope, without its grants."""
    vfolder = site.filled(1)
    access_files.replace(site.backend, vfolder, b"sealed", "")
    deleted = site.succeeded(delete(vfolder))
    assert f"{deleted.id}.access" in site.left("trash")

    def right(job: Job) -> None:
        if site.path(vfolder).exists():
            assert record_of(site, vfolder) == b"sealed"
        site.resumed(job)
        assert record_of(site, vfolder) == b"sealed"
        assert site.left("trash") == []

    site.crash_amid(restore(vfolder), right)


def test_a_record_is_lost_by_no_delete(site: Site) -> None:
    vfolder = site.filled(1)
    access_files.replace(site.backend, vfolder, b"sealed", "")

    def right(job: Job) -> None:
        site.resumed(job)
        site.succeeded(restore(vfolder))
        assert record_of(site, vfolder) == b"sealed"

    site.crash_amid(delete(vfolder), right)


def test_entries_that_are_deleted(site: Site) -> None:
    vfolder = site.filled(1)
    top = site.path(vfolder)

    def right(job: Job) -> None:
        if job.state is State.SUCCEEDED:
            assert not (top / "again").exists()
            assert not (top / "d1").exists()
        site.resumed(job)
        assert sorted(path.name for path in top.iterdir()) == ["d0", "link"]

    request = DeleteFilesRequest(
        volume=VOLUME, vfolder=str(vfolder), paths=["again", "d1"], recursive=True
    )
    site.crash_amid(request, right)
