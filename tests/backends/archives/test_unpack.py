"""Hostile archives: refused with the name of the entry, and nothing outside is changed."""

import gzip
import io
import os
import stat
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.archives import Unpacking, UnpackOptions, UploadFormat, opened
from backends.archives.members import ArchiveRefused
from backends.archives.unpack import TIME_NOT_KEPT, Unpacked, UnpackLimits
from backends.tree import Throttle
from core.jobs import Unattended

BOUNDS = UnpackLimits(free_bytes=1 << 20, free_entries=1_000)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """Return the directory to unpack into; nothing beside it may appear or change."""
    (tmp_path / "outside").write_bytes(b"untouched")
    (tmp_path / "target").mkdir()
    yield tmp_path / "target"
    assert sorted(os.listdir(tmp_path)) in (["outside", "target"], ["archive", "outside", "target"])
    assert (tmp_path / "outside").read_bytes() == b"untouched"


def unpack(
    target: Path, form: UploadFormat, data: bytes, note: Callable[[str, str], object] = print
) -> Unpacked:
    path = target.parent / "archive"
    path.write_bytes(data)
    top = os.open(target, os.O_RDONLY)
    throttle = Throttle()
    options = UnpackOptions(partial(BOUNDS.check, len(data)), note)
    work = Unpacking(top, options, Unattended(), throttle)
    try:
        with io.FileIO(path) as file:
            return work.run(opened(form, file, BOUNDS))
    finally:
        work.close()
        throttle.close()
        os.close(top)


def tar(*entries: tarfile.TarInfo | tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry, io.BytesIO(bytes(entry.size)))
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                archive.addfile(info, io.BytesIO(entry[1]))
    return out.getvalue()


def special(name: str, kind: bytes, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


def link(name: str, target: str) -> tarfile.TarInfo:
    return special(name, tarfile.SYMTYPE, target)


HOSTILE_TARS: dict[str, Callable[[], bytes]] = {
    "absolute": lambda: tar(("/etc/x", b"x")),
    "up": lambda: tar(("../outside", b"x")),
    "up inside": lambda: tar(("a/../../outside", b"x")),
    "name too long": lambda: tar(("a" * 256, b"x")),
    "through a link": lambda: tar(link("d", "sub"), ("d/x", b"x")),
    "through a link and up": lambda: tar(link("d", ".."), ("d/outside", b"x")),
    "link up": lambda: tar(link("x", "../outside")),
    "link absolute": lambda: tar(link("x", "/etc/passwd")),
    "link up in the middle": lambda: tar(link("a", "."), link("x", "a/a/../../outside")),
    "link to nothing": lambda: tar(link("x", "")),
    "file over a link": lambda: tar(link("x", "y"), ("x", b"x")),
    "twice": lambda: tar(("x", b"1"), ("x", b"2")),
    "below a file": lambda: tar(("x", b"1"), ("x/y", b"2")),
    "directory over a file": lambda: tar(("x", b"1"), special("x", tarfile.DIRTYPE)),
    "hard link out": lambda: tar(special("x", tarfile.LNKTYPE, "../outside")),
    "hard link absolute": lambda: tar(special("x", tarfile.LNKTYPE, "/etc/passwd")),
    "hard link to nothing": lambda: tar(special("x", tarfile.LNKTYPE, "y")),
    "hard link through a link": lambda: tar(
        ("d/f", b"1"), link("l", "d"), special("x", tarfile.LNKTYPE, "l/f")
    ),
    "fifo": lambda: tar(special("x", tarfile.FIFOTYPE)),
    "device": lambda: tar(special("x", tarfile.CHRTYPE)),
    "cut": lambda: tar(("x", bytes(100_000)))[:50_000],
    "cut at a border": lambda: tar(("x", b"1"), ("y", b"2"))[:1024],
    "garbage in the middle": lambda: tar(("x", b"1"))[:1024] + b"garbage!" * 64 + bytes(1024),
    "empty": lambda: b"",
    "not an archive": lambda: os.urandom(10_000),
    "cut gzip": lambda: gzip.compress(tar(("x", os.urandom(100_000))))[:50_000],
    "gzip with a wrong end": lambda: gzip.compress(tar(("x", b"1")))[:-8] + bytes(8),
    "gzip bomb": lambda: gzip.compress(tar(special("x", tarfile.REGTYPE, "", 4 << 20)), 1),
    "headers without end": lambda: gzip.compress(
        tar(special("x", tarfile.XHDTYPE, "", 8 << 20)), 1
    ),
    "negative size": lambda: _with_size(tar(("x", b"1")), -512),
    "size beyond the end": lambda: _with_size(tar(("x", b"1")), 1 << 40),
    "sparse": lambda: tar(special("x", tarfile.GNUTYPE_SPARSE)),
}


def _with_size(data: bytes, size: int) -> bytes:
    """Return the first header with another size in GNU's binary form, and a valid checksum."""
    header = bytearray(data[:512])
    header[124:136] = (
        b"\xff" * 4 + struct.pack(">q", size)
        if size < 0
        else (b"\x80" + bytes(3) + struct.pack(">q", size))
    )
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


@pytest.mark.parametrize("name", HOSTILE_TARS)
def test_hostile_tars(target: Path, name: str) -> None:
    with pytest.raises(ArchiveRefused) as refused:
        unpack(target, UploadFormat.TAR, HOSTILE_TARS[name]())
    assert str(target.parent) not in refused.value.detail


def zipped(*entries: tuple[zipfile.ZipInfo | str, bytes], method: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in entries:
            archive.writestr(name, data, method)
    return out.getvalue()


def unix(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


HOSTILE_ZIPS: dict[str, Callable[[], bytes]] = {
    "absolute": lambda: zipped(("/etc/x", b"x")),
    "up": lambda: zipped(("../outside", b"x")),
    "link out": lambda: zipped((unix("x", stat.S_IFLNK | 0o777), b"/etc/passwd")),
    "through a link": lambda: zipped((unix("d", stat.S_IFLNK | 0o777), b"sub"), ("d/x", b"x")),
    "long link": lambda: zipped((unix("x", stat.S_IFLNK | 0o777), b"a" * 5000)),
    "fifo": lambda: zipped((unix("x", stat.S_IFIFO | 0o644), b"")),
    "unknown method": lambda: zipped(("x", b"x"), method=zipfile.ZIP_LZMA),
    "encrypted": lambda: _flagged(zipped(("x", b"x")), 1),
    "wrong checksum": lambda: zipped(("x", b"good")).replace(b"good", b"evil"),
    "cut": lambda: zipped(("x", bytes(100_000)))[:50_000],
    "empty": lambda: b"",
    "not an archive": lambda: os.urandom(10_000),
    "bomb": lambda: zipped(("x", bytes(4 << 20)), method=zipfile.ZIP_DEFLATED),
    "a list of 4 GiB": lambda: _with_directory(zipped(("x", b"x")), 0xFFFFFFF0),
}


def _flagged(data: bytes, flag: int) -> bytes:
    at = data.index(b"PK\x01\x02") + 8
    return data[:at] + bytes([data[at] | flag]) + data[at + 1 :]


def _with_directory(data: bytes, size: int) -> bytes:
    at = data.index(b"PK\x05\x06") + 12
    return data[:at] + struct.pack("<L", size) + data[at + 4 :]


@pytest.mark.parametrize("name", HOSTILE_ZIPS)
def test_hostile_zips(target: Path, name: str) -> None:
    with pytest.raises(ArchiveRefused):
        unpack(target, UploadFormat.ZIP, HOSTILE_ZIPS[name]())


def test_a_bomb_of_names(target: Path) -> None:
    block = bytearray(special("d", tarfile.DIRTYPE).tobuf(tarfile.USTAR_FORMAT))
    data = gzip.compress(bytes(block) * 20_000 + bytes(1024))
    with pytest.raises(ArchiveRefused, match="more entries than its size allows"):
        unpack(target, UploadFormat.TAR, data)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
def test_links_that_stay_inside(target: Path, form: int) -> None:
    long = "/".join(["long name"] * 30)
    data = tar(
        ("./a", b"1"),
        ("d/e/f", b"2"),
        link("d/e/l", "../../a"),
        special("d/h", tarfile.LNKTYPE, "./a"),
        (long, b"3"),
        form=form,
    )
    made = unpack(target, UploadFormat.TAR, data)
    assert (made.files, made.links, made.hard_links) == (3, 1, 1)
    assert (target / "d/e/l").read_bytes() == b"1"
    assert (target / "d/h").samefile(target / "a")
    assert (target / long).read_bytes() == b"3"


def test_set_id_bits_and_unreadable_modes_are_not_kept(target: Path) -> None:
    info = special("x", tarfile.REGTYPE)
    info.mode = 0o6000
    closed = special("d", tarfile.DIRTYPE)
    closed.mode = 0o4055
    unpack(target, UploadFormat.TAR, tar(closed, info, ("d/f", b"1")))
    assert stat.S_IMODE((target / "x").stat().st_mode) == 0o644
    assert stat.S_IMODE((target / "d").stat().st_mode) == 0o755


@pytest.mark.parametrize("form", UploadFormat)
def test_a_fault_of_ours_is_no_broken_archive(
    target: Path, monkeypatch: pytest.MonkeyPatch, form: UploadFormat
) -> None:
    """What a library raises about an archive, our own code may raise by a defect."""

    def defect(*_: object) -> object:
        raise AttributeError("ours")

    monkeypatch.setattr("backends.archives.members._tar_kind", defect)
    monkeypatch.setattr("backends.archives.zip_members._kind", defect)
    with pytest.raises(AttributeError, match="ours"):
        unpack(target, form, (tar if form is UploadFormat.TAR else zipped)(("a", b"1")))


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_any_damage_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    target = tmp_path_factory.mktemp("damage") / "target"
    target.mkdir()
    form = data.draw(st.sampled_from(list(UploadFormat)))
    whole = (
        tar(("a", b"1" * 600), link("l", "a"), ("d/b", b"2"))
        if form is UploadFormat.TAR
        else zipped(("a", b"1" * 600), ("d/b", b"2"), method=zipfile.ZIP_DEFLATED)
    )
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ArchiveRefused):
        unpack(target, form, bytes(broken))
    assert sorted(os.listdir(target.parent)) == ["archive", "target"]


MOMENTS = (-(2**63) + 5, -(10**15), -1, 0, 1_700_000_000, 2**31, 2**33, 10**12, 2**63 - 1)
FAR = 2**70


def timed(name: str, seconds: float | str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = special(name, kind, "f0" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else "")
    info.mode = 0o755
    if isinstance(seconds, str):
        info.pax_headers = {"mtime": seconds}
    else:
        info.mtime = seconds
    return info


@pytest.mark.part("root")
def test_times_of_all_kinds_of_entries(target: Path) -> None:
    """To the nanosecond, of any size, and those of directories after all that is in them."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", target], check=True)
    try:
        entries: list[tarfile.TarInfo | tuple[str, bytes]] = []
        for number, seconds in enumerate(MOMENTS):
            text = f"{seconds}.123456789" if 0 <= seconds < 2**62 else str(seconds)
            entries.append(timed(f"f{number}", text))
            entries.append(timed(f"d{number}", text, tarfile.DIRTYPE))
            entries.append(timed(f"d{number}/link", text, tarfile.SYMTYPE))
            entries.append(timed(f"d{number}/below/", text, tarfile.DIRTYPE))
        entries.append(("d0/late", b"x"))
        done = unpack(target, UploadFormat.TAR, tar(*entries))
        assert done.times_not_kept == 0
        for number, seconds in enumerate(MOMENTS):
            expected = seconds * 10**9 + (123_456_789 if 0 <= seconds < 2**62 else 0)
            for name in ("f{}", "d{}", "d{}/link", "d{}/below"):
                assert (target / name.format(number)).lstat().st_mtime_ns == expected, name
    finally:
        subprocess.run(["umount", "-l", target], check=True)


def test_a_time_that_the_file_system_cannot_have_is_noted(target: Path) -> None:
    data = tar(
        timed("f0", str(FAR // 2**50)),
        timed("f1", FAR),
        timed("d", FAR, tarfile.DIRTYPE),
        form=tarfile.GNU_FORMAT,
    )
    noted: list[tuple[str, str]] = []
    done = unpack(target, UploadFormat.TAR, data, lambda *one: noted.append(one))
    assert done.times_not_kept == 2
    assert noted == [("f1", TIME_NOT_KEPT), ("d", TIME_NOT_KEPT)]
