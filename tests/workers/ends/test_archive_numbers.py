"""Numbers in archives of strangers: no value of any field is a defect, or leaves anything."""

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.jobs import Job, State
from core.names import VFolderId
from tests.workers.ends.conftest import Bench

CONTENT = b"content" * 50
CLASSES = {"The archive is refused", "No space left on the volume", "Quota exceeded"}
NUMBERS = ("1e300", "-1e300", "nan", "inf", "-inf", "-1", "1e18", "0x1", "", "9" * 400, "9" * 5000)
#: The numeric fields of a tar header: their offset and length.
FIELDS = {"mode": (100, 8), "uid": (108, 8), "size": (124, 12), "mtime": (136, 12)}


def unpacked(bench: Bench, vfolder: VFolderId, data: bytes, form: str) -> Job:
    target = f"out{len(list(bench.path(vfolder).iterdir()))}"
    (bench.path(vfolder) / f"archive{target}").write_bytes(data)
    request: dict[str, Any] = {"source": f"archive{target}", "target": target, "archive": form}
    ended = bench.done("extract", vfolder=str(vfolder), **request)
    if ended.state is State.FAILED:
        error = ended.member("error") or {}
        assert error["title"] in CLASSES, error
        assert not (bench.path(vfolder) / target).exists()
    else:
        assert ended.state is State.SUCCEEDED, ended.document()
    assert bench.left() == {}
    return ended


def tar(**pax: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("x")
        info.size, info.pax_headers = len(CONTENT), pax
        archive.addfile(info, io.BytesIO(CONTENT))
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["mtime", "atime", "ctime", "size", "uid", "gid"])
@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_of_pax_headers(bench: Bench, name: str, number: str) -> None:
    vfolder = bench.folder()
    ended = unpacked(bench, vfolder, tar(**{name: number}), "tar")
    if name != "size":
        assert ended.state is State.SUCCEEDED, ended.document()


@pytest.mark.parametrize("sparse", ["GNU.sparse.size", "GNU.sparse.realsize", "GNU.sparse.map"])
@pytest.mark.parametrize("number", ["9" * 30, "-5", "1,2,3", "x", "nan"])
def test_sparse_files_are_refused(bench: Bench, sparse: str, number: str) -> None:
    headers = {sparse: number, "GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    unpacked(bench, bench.folder(), tar(**headers), "tar")


def spoiled(field: str, value: bytes) -> bytes:
    """A ustar with other bytes in one number of its header, and the right checksum."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo("x")
        info.size = len(CONTENT)
        archive.addfile(info, io.BytesIO(CONTENT))
    data = bytearray(buffer.getvalue())
    offset, length = FIELDS[field]
    data[offset : offset + length] = value.ljust(length, b"\0")[:length]
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


BINARY = (
    b"\x80" + b"\x7f" * 11,
    b"\x80" + b"\xff" * 11,
    b"\xff" * 12,
    b"\xff" + b"\0" * 11,
    b"77777777777",
    b"-1",
    b"\x80" + bytes(10) + b"\x05",
)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", BINARY)
def test_numbers_of_tar_headers(bench: Bench, field: str, value: bytes) -> None:
    unpacked(bench, bench.folder(), spoiled(field, value), "tar")


def zipped(change: Callable[[zipfile.ZipInfo], None], *, wide: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("x")
        change(info)
        with archive.open(info, "w", force_zip64=wide) as file:
            file.write(CONTENT)
    return buffer.getvalue()


EXTRAS = (
    struct.pack("<2HBl", 0x5455, 5, 1, -(2**31)),
    struct.pack("<2HBl", 0x5455, 5, 1, 2**31 - 1),
    struct.pack("<2HB", 0x5455, 1, 1),
    struct.pack("<2H", 0x5455, 0),
    struct.pack("<2H", 1, 0),
    struct.pack("<2HQQQL", 1, 28, 2**64 - 1, 2**64 - 1, 2**64 - 1, 2**32 - 1),
    struct.pack("<2HQ", 1, 8, 2**63),
    struct.pack("<2HB", 0x7075, 1, 1),
    struct.pack("<2HBL", 0x7075, 5, 1, 2**32 - 1),
)


@pytest.mark.parametrize("extra", EXTRAS)
def test_extra_fields_of_zips(bench: Bench, extra: bytes) -> None:
    data = zipped(lambda info: setattr(info, "extra", extra))
    unpacked(bench, bench.folder(), data, "zip")


#: Numbers of a record of the central directory: offset from its start, and form.
CENTRAL = {
    "flags": (8, "<H"),
    "method": (10, "<H"),
    "time": (12, "<H"),
    "date": (14, "<H"),
    "crc": (16, "<L"),
    "packed": (20, "<L"),
    "size": (24, "<L"),
    "name length": (28, "<H"),
    "extra length": (30, "<H"),
    "comment length": (32, "<H"),
    "disk": (34, "<H"),
    "attributes": (38, "<L"),
    "offset": (42, "<L"),
}


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("field", CENTRAL)
def test_numbers_of_central_directories(bench: Bench, field: str, wide: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    offset, form = CENTRAL[field]
    data = zipped(lambda _: None, wide=wide)
    at = data.index(b"PK\x01\x02") + offset
    vfolder = bench.folder()
    for value in (0, 1, 2 ** (8 * struct.calcsize(form)) - 1, 2 ** (8 * struct.calcsize(form) - 1)):
        changed = data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]
        unpacked(bench, vfolder, changed, "zip")


@pytest.mark.parametrize("form", ["tar", "zip"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_spoiled_bytes(bench: Bench, form: str, data: st.DataObject) -> None:
    whole = bytearray(tar(mtime="1.5") if form == "tar" else zipped(lambda _: None, wide=True))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    if form == "tar":
        for start in range(0, len(whole) - 511, 512):
            block = whole[start : start + 512]
            if block[257:262] == b"ustar":
                block[148:156] = b" " * 8
                whole[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    unpacked(bench, bench.folder(), bytes(whole), form)
