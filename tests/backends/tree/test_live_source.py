"""A source in which others work during a copy: what they change is named, and never a failure."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from backends.fs import clock, descriptors
from backends.tree import (
    Change,
    CompareOptions,
    CopyOptions,
    Difference,
    Effort,
    Filter,
    Loss,
    Receipt,
    Selection,
    TreeManifest,
    below_replaced_of,
    compare_trees,
    copy_tree,
    read_noted,
)
from backends.tree.copy import batches, copier
from backends.tree.fast import Loops
from contract.trees import Opener
from core.jobs import Cancelled, Control, Unattended
from tests.support.trees import copied_in_pieces


class AtPhase(Unattended):
    """Runs operations when phases begin."""

    def __init__(self, **operations: Callable[[], object]) -> None:
        super().__init__()
        self._operations = operations

    def phase(self, name: str) -> None:
        self._operations.pop(name, lambda: None)()


@contextmanager
def manifest_in(directory: Path) -> Iterator[TreeManifest]:
    with descriptors.opened(str(directory)) as fd:
        manifest = TreeManifest.open(fd, "manifest")
        yield manifest
        manifest.close()


def now(directory: Path) -> int:
    with descriptors.opened(str(directory)) as fd:
        return clock.ticked_ns(os.open(".", os.O_RDONLY, dir_fd=fd))


class Site:
    """A source, a copy of it, and what the copy said."""

    def __init__(self, top: Path, anchor: Opener) -> None:
        self.top, self.anchor = top, anchor
        self.source, self.target = top / "a", top / "b"
        self.source.mkdir()
        self.noted: list[tuple[str, str]] = []
        self.changes: list[Change] = []

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.source / name).write_text(text)

    def copy(self, control: Control | None = None, **more: object) -> Receipt:
        options = {"since_ns": now(self.top), **more}
        with manifest_in(self.top) as manifest:
            receipt = copy_tree(
                self.anchor(self.source),
                self.anchor(self.target),
                control=control or Unattended(),
                manifest=manifest,
                options=CopyOptions(**options),  # type: ignore[arg-type] # keyword passing
            )
            self.noted = sorted((loss, path) for loss, path, _ in read_noted(manifest))
            self.since = options["since_ns"]
        return receipt

    def compare(self, digest: str | None = "xxh3") -> list[Difference]:
        options = CompareOptions(digest=digest, since_ns=self.since)  # type: ignore[arg-type] # from a dict
        sides = self.anchor(self.source), self.anchor(self.target)
        found = list(
            compare_trees(
                *sides, control=Unattended(), options=options, on_change=self.changes.append
            )
        )
        with manifest_in(self.top) as manifest:
            replaced = below_replaced_of(manifest, sides[0], {one.path for one in found})
        return [one for one in found if one.path not in replaced]


@pytest.fixture
def site(tmp_path: Path, anchor: Opener) -> Site:
    return Site(tmp_path, anchor)


@contextmanager
def restless(change: Callable[[int], object]) -> Iterator[None]:
    """Change the source all the time, in a thread."""
    stop = threading.Event()

    def work() -> None:
        number = 0
        while not stop.is_set():
            with suppress(OSError):
                change(number)
            number += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class ChangesAlways:
    """Makes each check of an open file find that others wrote to it meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
        check = copier.content.check_unchanged

        def changed(fd: int, status: os.stat_result) -> None:
            change()
            check(fd, status)

        monkeypatch.setattr(copier.content, "check_unchanged", changed)


ONE_PROCESS = Effort(helpers=1, loops=Loops(native=False))


@pytest.mark.parametrize("size", [10, 300_000], ids=["small", "middle"])
@pytest.mark.parametrize("digest", ["", "xxh3"])
def test_a_file_that_changes_at_each_try_is_copied_as_it_is_met(
    site: Site, monkeypatch: pytest.MonkeyPatch, size: int, digest: str
) -> None:
    log = site.source / "log"
    log.write_bytes(b"x" * size)
    tries: list[int] = []

    def grow() -> None:
        tries.append(1)
        with log.open("ab") as file:
            file.write(b"y" * 5)

    ChangesAlways(monkeypatch, grow)
    receipt = site.copy(effort=ONE_PROCESS, digest=digest or None, verify=digest or None)
    assert len(tries) == 3
    assert receipt.complete
    assert receipt.losses[Loss.AS_MET] == 1
    assert site.noted[0] == ("as-met", "log")
    copied = (site.target / "log").read_bytes()
    assert copied == b"x" * size + b"y" * 10, "the bytes of the last try, and not one more"
    assert receipt.size_bytes == len(copied)


def test_strict_gives_such_a_file_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.write(log="x")
    ChangesAlways(monkeypatch, lambda: site.write(log="y" * len(os.urandom(3)) + "z"))
    control = Unattended()
    monkeypatch.setattr(
        copier.content,
        "check_unchanged",
        lambda *_: (_ for _ in ()).throw(copier.Changed),
    )
    receipt = site.copy(control, effort=ONE_PROCESS, since_ns=None)
    assert receipt.losses == {Loss.CHANGED: 1}
    assert not receipt.complete
    assert control.faults == [("log", copier.KEPT_CHANGING)]
    assert list(site.target.iterdir()) == [], "no part of a file is left in the copy"


def test_a_file_that_becomes_shorter_while_it_is_read_has_no_padding(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = site.source / "holes"
    with file.open("wb") as opened:
        opened.write(b"data")
        opened.truncate(4_000_000)
    ChangesAlways(monkeypatch, lambda: os.truncate(file, 2))
    monkeypatch.setattr(copier, "TRIES_MAX", 1)
    receipt = site.copy(effort=ONE_PROCESS)
    assert receipt.complete
    assert (site.target / "holes").read_bytes() in (b"da", b"data" + bytes(3_999_996))


def test_a_very_big_file_that_keeps_changing_is_copied(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied_in_pieces(monkeypatch, 1000)
    log = site.source / "log"
    log.write_bytes(b"x" * 10_000)
    pieces: list[object] = []
    copy_piece = copier.ContentCopier.copy_piece

    def grow() -> None:
        with log.open("ab") as file:
            file.write(b"y")

    def copied(self: copier.ContentCopier, fd: int, out: int, *rest: Any) -> bytes | None:
        pieces.append(rest)
        grow()
        return copy_piece(self, fd, out, *rest)

    monkeypatch.setattr(copier.ContentCopier, "copy_piece", copied)
    ChangesAlways(monkeypatch, grow)
    receipt = site.copy(effort=ONE_PROCESS)
    assert len(pieces) >= 3
    assert receipt.complete
    assert receipt.losses == {Loss.AS_MET: 1}
    assert (site.target / "log").read_bytes().rstrip(b"y") == b"x" * 10_000


def test_a_very_big_file_that_vanishes_leaves_no_part(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied_in_pieces(monkeypatch, 1000)
    (site.source / "big").write_bytes(b"x" * 10_000)
    copy_piece = copier.ContentCopier.copy_piece

    def copied(self: copier.ContentCopier, fd: int, out: int, *rest: Any) -> bytes | None:
        (site.source / "big").unlink(missing_ok=True)
        return copy_piece(self, fd, out, *rest)

    monkeypatch.setattr(copier.ContentCopier, "copy_piece", copied)
    receipt = site.copy(effort=ONE_PROCESS)
    assert receipt.complete
    assert site.noted == [("vanished", "big")]
    assert list(site.target.iterdir()) == []


def test_what_vanishes_between_plan_and_copy_is_named(site: Site) -> None:
    (site.source / "gone/deep").mkdir(parents=True)
    (site.source / "gone/deep/file").write_text("x")
    for name in ("removed", "replaced-by-a-link", "replaced-by-a-directory", "stays"):
        (site.source / name).write_text("x")
    (site.source / "link").symlink_to("stays")
    (site.source / "became-a-link").mkdir()

    def meddle() -> None:
        (site.source / "removed").unlink()
        (site.source / "gone").rename(site.top / "elsewhere")
        for name in ("replaced-by-a-link", "became-a-link"):
            path = site.source / name
            path.rmdir() if path.is_dir() else path.unlink()
            path.symlink_to("/etc/passwd")
        (site.source / "replaced-by-a-directory").unlink()
        (site.source / "replaced-by-a-directory").mkdir()
        (site.source / "replaced-by-a-directory/new").write_text("new")
        (site.source / "link").unlink()
        (site.source / "link").write_text("a file")

    names = Selection(filter=Filter(["- never"], 0))
    control = AtPhase(copy=meddle)
    receipt = site.copy(control, selection=names)
    assert receipt.complete
    assert control.faults == []
    vanished = {path for loss, path in site.noted if loss == "vanished"}
    assert {"removed", "gone", "gone/deep", "became-a-link"} <= vanished
    assert (site.target / "stays").read_text() == "x"
    assert not (site.target / "removed").exists()
    assert site.compare() == []


@pytest.mark.parametrize("kind", ["directory", "socket", "link"])
def test_a_planned_file_that_is_another_kind_at_its_turn(site: Site, kind: str) -> None:
    """The fast loop listed it as a file; the name belongs to something else when it is opened."""
    site.write(a="x")
    os.link(site.source / "a", site.source / "b")  # copied in the last step, by its names

    def replace() -> None:
        for name in "ab":
            path = site.source / name
            path.unlink()
            if kind == "directory":
                path.mkdir()
            elif kind == "link":
                path.symlink_to("nowhere")
            else:
                os.mknod(path, 0o140600)

    class AtLinks(Unattended):
        def phase(self, name: str) -> None:
            if name == "copy":
                replace()

    receipt = site.copy(AtLinks(), selection=Selection(filter=Filter(["- never"], 0)))
    assert receipt.complete, receipt
    assert list(site.target.iterdir()) == [] or kind != "socket"


def test_the_first_of_several_names_vanishes_and_the_others_are_copied(site: Site) -> None:
    site.write(a="x")
    for name in ("b", "c"):
        os.link(site.source / "a", site.source / name)

    with manifest_in(site.top) as manifest:

        class BeforeLinks(Unattended):
            def count(self, *_: object) -> None:
                if any(record[0] == "done" for _, record in manifest.records()):
                    (site.source / "a").unlink(missing_ok=True)

        receipt = copy_tree(
            site.anchor(site.source),
            site.anchor(site.target),
            control=BeforeLinks(),
            manifest=manifest,
            options=CopyOptions(since_ns=now(site.top), durable=False),
        )
    (site.source / "a").unlink(missing_ok=True)
    assert receipt.complete
    there = {path.name: path.stat().st_ino for path in site.target.iterdir()}
    assert {"b", "c"} <= set(there)
    assert there["b"] == there["c"]


def test_what_came_after_the_plan_is_named(site: Site) -> None:
    (site.source / "old").mkdir()
    site.write(file="x")

    def meddle() -> None:
        site.write(upload="later")
        (site.source / "old/later").write_text("later")
        (site.source / "new/deep").mkdir(parents=True)

    receipt = site.copy(AtPhase(seal=meddle))
    assert receipt.complete
    assert site.noted == [("appeared", "new"), ("appeared", "old/later"), ("appeared", "upload")]
    assert receipt.losses[Loss.APPEARED] == 3
    assert site.compare() == []
    assert site.changes == [], "what came later is named once, by the copy"


def test_what_changes_after_its_turn_is_no_difference(site: Site) -> None:
    for name in ("data/sub", "moved", "gone"):
        (site.source / name).mkdir(parents=True)
        (site.source / name / "file").write_text("x")
    site.write(log="x", rewritten="x", removed="x", replaced="x", shut="x", same="x")
    site.copy()
    (site.source / "log").write_text("longer")
    (site.source / "rewritten").write_text("y")
    (site.source / "removed").unlink()
    (site.top / "draft").write_text("other")
    (site.top / "draft").rename(site.source / "replaced")
    (site.source / "shut").chmod(0)
    (site.source / "moved").rename(site.source / "elsewhere")
    (site.source / "gone/file").unlink()
    (site.source / "gone").rmdir()
    (site.source / "gone").symlink_to("data")
    (site.source / "upload").write_text("new")
    assert site.compare() == []
    changed = sorted(change.path for change in site.changes)
    assert changed == ["gone", "log", "moved", "removed", "replaced", "rewritten", "shut"]


def test_a_directory_with_older_entries_takes_the_place_of_one(site: Site) -> None:
    """`mv data data.old; mv data.new data`: no entry below has changed, and all of them differ."""
    for name in ("data", "data.new"):
        (site.source / name / "sub").mkdir(parents=True)
        for file in ("file", "sub/file"):
            (site.source / name / file).write_text(name)
    site.copy()
    (site.source / "data").rename(site.source / "data.old")
    (site.source / "data.new").rename(site.source / "data")
    assert site.compare() == []


@pytest.mark.parametrize("spoilt", ["content", "size", "time", "mode", "removed"])
def test_what_was_copied_wrongly_from_an_unchanged_file_is_a_difference(
    site: Site, spoilt: str
) -> None:
    """Others work beside it, in the same directory, all the time."""
    site.write(quiet="xxxx", log="x")
    site.copy()
    site.write(log="longer", upload="new")
    copy = site.target / "quiet"
    status = copy.stat()
    if spoilt == "content":
        copy.write_text("yyyy")
    elif spoilt == "size":
        copy.write_text("xx")
    if spoilt == "removed":
        copy.unlink()
    elif spoilt == "time":
        os.utime(copy, ns=(0, 0))
    elif spoilt == "mode":
        copy.chmod(0o7)
    else:
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    found = {(one.path, one.aspect.value) for one in site.compare()}
    wanted = {"removed": "missing"}.get(spoilt, spoilt)
    assert ("quiet", wanted) in found
    assert {path for path, _ in found} == {"quiet"}


@pytest.mark.parametrize("digest", [None, "xxh3"])
def test_the_copys_own_verification_tells_them_apart_too(site: Site, digest: str | None) -> None:
    site.write(quiet="xxxx", log="x", removed="x")

    def meddle() -> None:
        site.write(log="longer", upload="new")
        (site.source / "removed").unlink()

    receipt = site.copy(AtPhase(verify=meddle), verify="xxh3", digest=digest)
    assert receipt.complete
    assert receipt.losses == {Loss.CHANGED_SINCE: 1}
    assert site.noted == [("changed-since", "log")]

    def spoil() -> None:
        meddle()
        times = (site.target / "quiet").stat()
        (site.target / "quiet").write_text("yyyy")
        os.utime(site.target / "quiet", ns=(times.st_atime_ns, times.st_mtime_ns))

    other = Site(site.top / "again", site.anchor) if (site.top / "again").mkdir() is None else site
    other.write(quiet="xxxx", log="x", removed="x")
    site.source, site.target, site.top = other.source, other.target, other.top
    receipt = site.copy(AtPhase(verify=spoil), verify="xxh3", digest=digest)
    assert receipt.losses[Loss.DIFFERENT] == 1
    assert not receipt.complete


def test_a_directory_that_vanishes_after_its_copy_keeps_its_entries(site: Site) -> None:
    (site.source / "out").mkdir(mode=0o750)
    (site.source / "out").chmod(0o750)
    (site.source / "out/file").write_text("x")
    site.source.chmod(0o2755)
    receipt = site.copy(AtPhase(seal=lambda: (site.source / "out").rename(site.top / "moved")))
    assert receipt.complete
    assert ("as-met", "out") in site.noted
    assert (site.target / "out/file").read_text() == "x"
    assert (site.target / "out").stat().st_mode & 0o777 == 0o755, "that of the directory above"


def test_changes_are_named_once_though_the_copy_is_killed(site: Site) -> None:
    site.write(a="x", removed="x", b="x")

    def stop() -> None:
        raise Cancelled

    remove = AtPhase(copy=lambda: (site.source / "removed").unlink(missing_ok=True), verify=stop)
    names = Selection(filter=Filter(["- never"], 0))
    since = now(site.top)
    with pytest.raises(Cancelled):
        site.copy(remove, selection=names, since_ns=since, verify="xxh3")
    receipt = site.copy(selection=names, since_ns=now(site.top), verify="xxh3")
    assert site.noted == [("vanished", "removed")]
    assert receipt.losses[Loss.VANISHED] == 1
    assert batches.TRIES_MAX == 3


def test_hundreds_of_changes_a_second_fail_nothing(site: Site) -> None:
    for number in range(300):
        directory = site.source / f"d{number % 10}"
        directory.mkdir(exist_ok=True)
        (directory / f"f{number}").write_bytes(b"x" * number * 10)

    def change(number: int) -> None:
        directory = site.source / f"d{number % 10}"
        with (directory / f"f{number % 300}").open("ab") as file:
            file.write(b"line\n")
        (directory / f"new{number}").write_text("new")
        if number % 3 == 0:
            (directory / f"f{(number * 7) % 300}").unlink(missing_ok=True)
        if number % 5 == 0:
            (directory / f"new{number}").rename(site.source / f"d{number % 7}/moved{number}")
        if number % 50 == 0:
            directory.rename(site.source / f"was{number}")
            directory.mkdir()

    with restless(change):
        control = Unattended()
        receipt = site.copy(control)
        found = site.compare()
    assert control.faults == []
    assert receipt.complete
    assert found == []
