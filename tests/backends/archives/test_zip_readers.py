"""Zips read by programs of other people: as a stream, as a file, and by the rules of two systems.

A reader of a stream meets the entries in order and knows of each only what its local header says.
"""

import hashlib
import io
import json
import os
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from stream_unzip import stream_unzip

from backends.archives.zip_records import BLOCK_BYTES, blocks_bytes, in_blocks
from tests.backends.archives.test_live_folder import archiving
from tests.support.node import ROOT

FORMS = ["zip", "zip-deflate"]
NODE_MODULES = ROOT / "tests/support/npm/node_modules"
JAVA = """
import java.io.*; import java.util.zip.*;
public class Read { public static void main(String[] a) throws Exception {
  try (ZipInputStream z = new ZipInputStream(new BufferedInputStream(System.in))) {
    ZipEntry e; byte[] b = new byte[65536]; int n;
    while ((e = z.getNextEntry()) != null) {
      long size = 0; CRC32 crc = new CRC32();
      while ((n = z.read(b)) > 0) { size += n; crc.update(b, 0, n); }
      System.out.println(e.getName() + " " + size + " " + Long.toHexString(crc.getValue()));
    } } } }
"""
SIZES = (0, 1, 256 * 1024, 256 * 1024 + 1, BLOCK_BYTES * 8, BLOCK_BYTES * 8 + 1, 3 << 20)


def contents(place: Path) -> dict[str, tuple[int, int]]:
    """The length and the checksum of each file."""
    files = [path for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
    data = {str(path.relative_to(place)): path.read_bytes() for path in files}
    return {name: (len(content), zlib.crc32(content)) for name, content in data.items()}


def streamed(tmp_path: Path, form: str, *, link: bool = True) -> tuple[Path, bytes]:
    place = tmp_path / "many"
    (place / "sub").mkdir(parents=True)
    for size in SIZES:
        (place / f"noise{size}").write_bytes(os.urandom(size))
        (place / f"sub/text{size}").write_bytes(b"text " * (size // 5) + b"x" * (size % 5))
    (place / "sub/한 글 ü").write_bytes(b"x" * 10)
    if link:
        (place / "link").symlink_to("noise1")
    with archiving(place, form) as made:
        return place, made.data()


@pytest.mark.part("java")
@pytest.mark.parametrize("form", FORMS)
def test_java_reads_a_zip_as_a_stream(tmp_path: Path, form: str) -> None:
    place, data = streamed(tmp_path, form)
    (tmp_path / "Read.java").write_text(JAVA)
    command = ["java", "-XX:TieredStopAtLevel=1", "Read.java"]
    done = subprocess.run(
        command, input=data, capture_output=True, check=True, cwd=tmp_path, timeout=120
    )
    found = {}
    for line in done.stdout.decode().splitlines():
        name, size, crc = line.rsplit(" ", 2)
        found[name] = int(size), int(crc, 16)
    assert found.pop("sub/") == (0, 0)
    assert found.pop("link")[0] == len("noise1")
    assert found == contents(place)


@pytest.mark.part("bsdtar")
@pytest.mark.parametrize("form", FORMS)
def test_bsdtar_reads_a_zip_from_a_pipe(tmp_path: Path, form: str) -> None:
    # That an entry is a link stands only in the central directory, which comes last.
    place, data = streamed(tmp_path, form, link=False)
    (tmp_path / "to").mkdir()
    subprocess.run(["bsdtar", "-xf", "-", "-C", tmp_path / "to"], input=data, check=True)
    subprocess.run(["diff", "-r", "--no-dereference", place, tmp_path / "to"], check=True)


@pytest.mark.part("unzip")
@pytest.mark.parametrize("form", FORMS)
def test_unzip_finds_no_fault(tmp_path: Path, form: str) -> None:
    place, data = streamed(tmp_path, form)
    (tmp_path / "a.zip").write_bytes(data)
    subprocess.run(["unzip", "-q", "a.zip", "-d", "to"], check=True, cwd=tmp_path)
    subprocess.run(["diff", "-r", "--no-dereference", place, tmp_path / "to"], check=True)


@pytest.mark.parametrize("form", FORMS)
def test_stream_unzip_reads_a_zip_as_a_stream(tmp_path: Path, form: str) -> None:
    place, data = streamed(tmp_path, form)
    found = {}
    pieces = (data[start : start + 65536] for start in range(0, len(data), 65536))
    for name, _, chunks in stream_unzip(pieces):
        content = b"".join(chunks)
        found[name.decode()] = len(content), zlib.crc32(content)
    assert found.pop("sub/") == (0, 0)
    assert found.pop("link")[0] == len("noise1")
    assert found == contents(place)


NODE = """
const [library, path] = process.argv.slice(1);
const { createReadStream } = require("fs");
const { createHash } = require("crypto");
const found = {};
async function take(name, stream) {
  let size = 0; const digest = createHash("sha256");
  for await (const chunk of stream) { size += chunk.length; digest.update(chunk); }
  found[name] = [size, digest.digest("hex")];
}
async function unzipper() {  // it reads the stream from its start, and no central directory
  const zip = createReadStream(path).pipe(require(library).Parse({ forceStream: true }));
  for await (const entry of zip) await take(entry.path, entry);
}
async function yauzl() {
  const zip = await new Promise((ok, no) =>
    require(library).open(path, { lazyEntries: true }, (error, it) => error ? no(error) : ok(it)));
  const end = new Promise((ok, no) => { zip.on("end", ok); zip.on("error", no); });
  zip.on("entry", (entry) => {
    if (entry.fileName.endsWith("/")) { found[entry.fileName] = [0, ""]; zip.readEntry(); return; }
    zip.openReadStream(entry, (error, stream) => {
      if (error) throw error;
      take(entry.fileName, stream).then(() => zip.readEntry());
    });
  });
  zip.readEntry();
  await end;
}
(library.endsWith("yauzl") ? yauzl() : unzipper())
  .then(() => console.log(JSON.stringify(found)), (e) => { console.error(e); process.exit(1); });
"""


@pytest.mark.part("node")
@pytest.mark.part("npm-packages")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("library", ["unzipper", "yauzl"])
def test_libraries_for_node_read_a_zip(tmp_path: Path, form: str, library: str) -> None:
    place, data = streamed(tmp_path, form)
    (tmp_path / "a.zip").write_bytes(data)
    words = ["node", "-e", NODE, NODE_MODULES / library, tmp_path / "a.zip"]
    run = subprocess.run(words, stdout=subprocess.PIPE, check=True, timeout=120)
    found = json.loads(run.stdout)
    assert found.pop("sub/")[0] == 0
    assert found.pop("link")[0] == len("noise1")
    digests = {
        name: [size, hashlib.sha256((place / name).read_bytes()).hexdigest()]
        for name, (size, _) in contents(place).items()
    }
    assert found == digests


@pytest.mark.part("7z")
@pytest.mark.parametrize("form", FORMS)
def test_7z_finds_no_fault(tmp_path: Path, form: str) -> None:
    place, data = streamed(tmp_path, form)
    (tmp_path / "a.zip").write_bytes(data)
    run = ["7z", "x", "-bd", "-oto", "a.zip"]
    subprocess.run(run, check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    subprocess.run(["diff", "-r", "--no-dereference", place, tmp_path / "to"], check=True)


# -- The rules of systems whose readers cannot run here --------------------------------------------
#: Bits of the general purpose flag (APPNOTE 4.4.4).
FOLLOWS, UTF8 = 1 << 3, 1 << 11
_LOCAL, _CENTRAL, _DESCRIPTOR, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x07\x08", b"PK\x05\x06"


@dataclass(frozen=True)
class LocalEntry:
    """An entry as a reader of the stream knows it after its content."""

    at: int
    version: int
    flags: int
    method: int
    crc: int
    name: bytes
    content: bytes


def entries(data: bytes) -> Iterator[LocalEntry]:
    """Read the entries from the start as macOS' Archive Utility must: without what comes behind.

    A stored entry ends where its header says; a deflated one ends itself, and a descriptor with a
    signature may follow. Nothing lies between two entries.
    """
    at = 0
    while data[at : at + 4] == _LOCAL:
        fields = struct.unpack_from("<5H3I2H", data, at + 4)
        version, flags, method, _, _, crc, packed, size, name_size, extra_size = fields
        name = data[at + 30 : at + 30 + name_size]
        start = at + 30 + name_size + extra_size
        if method == zipfile.ZIP_STORED:
            assert not flags & FOLLOWS, name
            assert packed == size, name
            content, end = data[start : start + size], start + size
        else:
            engine = zlib.decompressobj(-15)
            content = engine.decompress(data[start:])
            assert engine.eof, name
            end = len(data) - len(engine.unused_data)
        if flags & FOLLOWS:
            assert (crc, packed, size) == (0, 0, 0), name
            assert data[end : end + 4] == _DESCRIPTOR, name
            crc, packed, size = struct.unpack_from("<3I", data, end + 4)
            assert packed == end - start, name
            end += 16
        assert (crc, size) == (zlib.crc32(content), len(content)), name
        yield LocalEntry(at, version, flags, method, crc, name, content)
        at = end
    assert data[at : at + 4] == _CENTRAL, "the central directory follows the last entry"


@pytest.mark.parametrize("form", FORMS)
def test_the_rules_of_macos(tmp_path: Path, form: str) -> None:
    """Archive Utility reads local headers first: the stream alone gives every byte."""
    place, data = streamed(tmp_path, form)
    found = {entry.name.decode(): (len(entry.content), entry.crc) for entry in entries(data)}
    assert found.pop("sub/") == (0, 0)
    assert found.pop("link")[0] == len("noise1")
    assert found == contents(place)


@pytest.mark.parametrize("form", FORMS)
def test_the_rules_of_windows(tmp_path: Path, form: str) -> None:
    """Explorer takes two methods, UTF-8 names by their flag, and headers that agree.

    It needs no zip64 where 32 bits suffice, and shows no absolute names and no backslashes.
    """
    _, data = streamed(tmp_path, form)
    local = {entry.name: entry for entry in entries(data)}
    at = data.index(_CENTRAL, struct.unpack_from("<I", data, data.rindex(_END) + 16)[0])
    for _ in local:
        fields = struct.unpack_from("<6H3I5H2I", data, at + 4)
        _, version, flags, method, _, _, crc, _, size = fields[:9]
        name_size, extra_size, comment_size, disk, _, _, offset = fields[9:]
        name = data[at + 46 : at + 46 + name_size]
        entry = local[name]
        assert (entry.version, entry.flags, entry.method) == (version, flags, method)
        assert (entry.crc, len(entry.content), entry.at) == (crc, size, offset)
        assert version <= 20
        assert flags & ~(FOLLOWS | UTF8) == 0
        assert method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        assert bool(flags & UTF8) or name.isascii()
        assert not name.startswith(b"/")
        assert b"\\" not in name
        assert (disk, comment_size) == (0, 0)
        at += 46 + name_size + extra_size
    assert data[at : at + 4] == _END
    assert at + 22 == len(data), "no comment behind it"


@pytest.mark.parametrize("form", FORMS)
def test_no_stored_entry_has_its_checksum_behind_it(tmp_path: Path, form: str) -> None:
    """A stored content has no end of its own: its length must be before it."""
    _, data = streamed(tmp_path, form)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.infolist():
            flags, method = struct.unpack_from("<2H", data, entry.header_offset + 6)
            assert method == zipfile.ZIP_DEFLATED or not flags & 8, entry.filename


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES])
def test_blocks_have_the_length_that_was_foreseen(size: int) -> None:
    data = os.urandom(size)
    packed = in_blocks(data, last=True)
    assert len(packed) == blocks_bytes(size)
    assert zlib.decompress(packed, -15) == data
