"""Clones and transfers at every power failure: whole or absent, and there once they succeeded."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from backends.fs import descriptors, layout
from backends.tree import CopyOptions, copy_tree
from backends.tree.copy import plan
from core.jobs import Job, State, Unattended
from core.jobs.requests import (
    CloneRequest,
    DeleteFilesRequest,
    ExtractRequest,
    Request,
    RestoreRequest,
    TransferRequest,
)
from core.names import VFolderId
from tests.durability.site import VOLUME, Crash, Site
from tests.support.thoroughness import times
from tests.support.trees import attributes, copied_in_pieces
from workers.run import Manifest
from workers.verbs.transfer import transfer as transfers

pytestmark = pytest.mark.part("fuse")

PIECE_BYTES = 4096


def published(site: Site, request: Request, source: Path, target: Path) -> None:
    """Check a job that publishes a copy of the source with one rename."""
    wanted = attributes(source)

    def right(job: Job) -> None:
        assert not target.exists() or attributes(target) == wanted
        if job.state is State.SUCCEEDED:
            assert target.exists()
            return
        site.resumed(job)
        assert attributes(target) == wanted
        assert attributes(source) == wanted
        assert site.left("staging") == []

    site.crash_amid(request, right)


def transfer(source: VFolderId, target: VFolderId, **more: object) -> TransferRequest:
    facts = {"volume": VOLUME, "source": str(source), "target": str(target)} | more
    return TransferRequest(**facts)  # type: ignore[arg-type] # any request


def test_a_clone(site: Site) -> None:
    source, target = site.filled(1), site.vfolder(2)
    request = CloneRequest(volume=VOLUME, source=str(source), target=str(target))
    published(site, request, site.path(source), site.path(target))


def test_a_clone_that_an_earlier_version_began(site: Site) -> None:
    """What that version had staged and recorded goes; it does not come back in part."""
    source, target = site.filled(1), site.vfolder(2)
    wanted = attributes(site.path(source))
    job = site.submit(CloneRequest(volume=VOLUME, source=str(source), target=str(target)))
    assert site.store.claim(job.id, "former", "node", 600, "former:1") == "ok"
    with site.backend.root() as root:
        manifest = Manifest(root, site.scope, job.id, lambda _: None)
        with (
            descriptors.made(layout.staging(site.scope, job.id), root) as staged,
            descriptors.opened(str(site.path(source))) as directory,
        ):
            copy_tree(directory, staged, control=Unattended(), manifest=manifest.record)
            manifest.mark("copied", files=1, copied_bytes=1)
            manifest.mark("publish", inode=os.fstat(staged).st_ino)
        manifest.close()
    site.store.lose(job.id, "former", "killed", 10)

    def right(_: Crash) -> None:
        site.resumed(job)
        assert attributes(site.path(target)) == wanted

    site.crash(lambda: site.resumed(job), right, [])


def test_a_transfer_to_a_new_path(site: Site) -> None:
    source, target = site.filled(1), site.filled(2, 1)
    request = transfer(source, target, target_path="new/path/here")
    published(site, request, site.path(source), site.path(target) / "new/path/here")


def test_a_transfer_of_many_parts(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part is marked done while the next is copied; none is done that is not on disk."""
    monkeypatch.setattr(plan, "PART_ENTRIES", 1)
    monkeypatch.setattr(transfers, "CopyOptions", partial(CopyOptions, checkpoint_seconds=0))
    source, target = site.filled(1, 12), site.vfolder(2)
    published(site, transfer(source, target), site.path(source), site.path(target))


def test_a_file_in_pieces(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    copied_in_pieces(monkeypatch, PIECE_BYTES)
    source, target = site.filled(1, 1), site.vfolder(2)
    (site.path(source) / "big").write_bytes(bytes(range(1, 251)) * 50)
    published(site, transfer(source, target), site.path(source), site.path(target))


def test_a_file_in_pieces_whose_name_is_lost(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces are on disk, their file has no name; the power fails again amid the next run."""
    copied_in_pieces(monkeypatch, PIECE_BYTES)
    source, target = site.filled(1, 1), site.vfolder(2)
    (site.path(source) / "big").write_bytes(bytes(range(1, 251)) * 50)
    wanted = attributes(site.path(source))
    job, crashes = site.crashes_of(transfer(source, target))
    site.start_again(next(crash for crash in crashes if has_pieces(site, crash)))
    path = next(site.hidden("staging").rglob("big"))
    state = site.volume.now()
    above = path.parent.stat().st_ino
    names = {name: inode for name, inode in state[above].names.items() if name != path.name}
    site.volume.start_again(state | {above: replace(state[above], content=names)})

    def right(_: Crash) -> None:
        site.resumed(job)
        assert attributes(site.path(target)) == wanted

    site.changes_per_cut = 1
    site.states_max = times(20, 1000)
    site.crash(lambda: site.resumed(job), right, [])


def has_pieces(site: Site, crash: Crash) -> bool:
    """Return whether pieces are recorded, and everything is on disk."""
    if crash.name != "all":
        return False
    site.start_again(crash)
    records = [path.read_bytes() for path in site.hidden("staging").rglob("*.manifest")]
    staged = list(site.hidden("staging").rglob("big"))
    return any(b"piece" in text for text in records) and bool(staged)


def test_a_transfer_of_one_file(site: Site) -> None:
    source, target = site.filled(1), site.filled(2)
    old, new = (site.path(one) / "d0/e/f0" for one in (target, source))
    before, after = old.read_bytes(), new.read_bytes()

    def right(job: Job) -> None:
        assert old.read_bytes() in (before, after)
        if job.state is not State.SUCCEEDED:
            site.resumed(job)
        assert old.read_bytes() == after
        assert new.read_bytes() == after

    request = transfer(
        source,
        target,
        source_path="d0/e/f0",
        target_path="d0/e/f0",
        on_conflict="replace",
    )
    site.crash_amid(request, right)


def test_a_transfer_over_a_live_tree(site: Site) -> None:
    source, target = site.filled(1), site.filled(2)
    (site.path(source) / "only").mkdir()
    (site.path(source) / "only" / "here").write_bytes(b"new")
    (site.path(target) / "extra").write_bytes(b"extra")
    top, wanted = site.path(target), attributes(site.path(source))
    before = files(top)
    after = files(site.path(source))

    def right(job: Job) -> None:
        for name, data in files(top).items():  # each file is the old one or the new one
            assert data in (before.get(name), after.get(name)), name
        if job.state is State.SUCCEEDED:
            assert attributes(top) == wanted
            return
        assert before.keys() & after.keys() <= files(top).keys()
        site.resumed(job)
        assert attributes(top) == wanted
        assert attributes(site.path(source)) == wanted

    request = transfer(source, target, on_conflict="replace", delete_extra=True)
    site.crash_amid(request, right)


@pytest.mark.parametrize("keep_seconds", [0, 3600])
@pytest.mark.parametrize("path", ["", "d0", "d0/e/f0"])
def test_a_move(site: Site, path: str, keep_seconds: float) -> None:
    """Each file is whole in one of the two places at least, and at the end in the target alone."""
    source, target = site.filled(1), site.filled(2, 1)
    top, there = site.path(source) / path, site.path(target) / "in"
    wanted = files(top)
    assert wanted

    def right(job: Job) -> None:
        places = files(top), files(there)
        for name, data in wanted.items():
            assert data in [found.get(name) for found in places], name
        if job.state is not State.SUCCEEDED:
            site.resumed(job)
            assert site.left("staging") == []
        assert files(top) == {}
        assert files(there) == wanted
        if not keep_seconds:
            assert site.left("trash") == []
            return
        words = {"vfolder": str(source), "trash": job.id, "entries": True}
        site.succeeded(RestoreRequest(volume=VOLUME, **words))
        assert files(top) == wanted

    more = {"source_path": path, "target_path": "in", "keep_seconds": keep_seconds}
    site.crash_amid(transfer(source, target, remove_source=True, **more), right)


def test_a_move_of_what_another_program_has_just_copied(site: Site) -> None:
    """The target has the same file already, and it is not synced."""
    source, target = site.filled(1), site.filled(2, 1)
    old, new = site.path(source) / "d0/e/f0", site.path(target) / "same"
    data = old.read_bytes()
    more = {"source_path": "d0/e/f0", "target_path": "same", "remove_source": True}
    job = site.submit(transfer(source, target, **more))

    def act() -> None:
        shutil.copy2(old, new)
        assert site.run(job).state is State.SUCCEEDED

    def right(_: Crash) -> None:
        assert data in [path.read_bytes() for path in (old, new) if path.exists()]

    site.changes_per_cut = 1
    site.crash(act, right, [])


def files(top: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(top)): path.read_bytes()
        for path in (top, *top.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def test_a_report(site: Site) -> None:
    """The entries that a job could not do are named after its end."""
    vfolder = site.filled(1)
    request = DeleteFilesRequest(volume=VOLUME, vfolder=str(vfolder), paths=["d0/e/f0/no", "again"])

    def right(job: Job) -> None:
        site.resumed(job, State.PARTIAL)
        assert "d0/e/f0/no" in (site.hidden("jobs") / f"{job.id}.report").read_text()

    site.crash_amid(request, right, State.PARTIAL)


def unpacked(site: Site, kind: str, pack: Callable[[Path, Path], None]) -> None:
    source, vfolder = site.filled(1), site.filled(2, 1)
    archive = site.path(vfolder) / "archive"
    pack(site.path(source), archive)
    wanted = files(site.path(source))
    target = site.path(vfolder) / "below" / "here"

    def right(job: Job) -> None:
        assert not target.exists() or files(target) == wanted
        if job.state is State.SUCCEEDED:
            assert target.exists()
            return
        site.resumed(job)
        assert files(target) == wanted
        assert site.left("staging") == []

    request = ExtractRequest(
        volume=VOLUME, vfolder=str(vfolder), target="below/here", archive=kind, source="archive"
    )
    site.crash_amid(request, right)


def test_an_archive_that_is_unpacked(site: Site, tmp_path: Path) -> None:
    def pack(source: Path, archive: Path) -> None:
        made = shutil.make_archive(str(tmp_path / "one"), "tar", source)
        archive.write_bytes(Path(made).read_bytes())

    unpacked(site, "tar", pack)
