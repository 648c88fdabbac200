"""The part in C: bounds of its arguments, short files, interruptions, and other threads."""

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import pytest

from backends.fs import descriptors, marker, native
from tests.support import brittlefs
from tests.support.brittlefs import BrittleFS, Rule

pytestmark = pytest.mark.part("native-code")

STOP = bytearray(1)


@dataclass
class Planned:
    """An entry of a plan as C reads it."""

    name: bytes = b"a"
    mode: int = 0o100644
    size: int = 3
    mtime_ns: int = 0
    inode: int = 0
    target: bytes = b""
    is_file: bool = True
    is_directory: bool = False


def entry(**attributes: object) -> Planned:
    return Planned(**attributes)  # type: ignore[arg-type] # also those that C refuses


#: Outside of what a descriptor may be; the last two are 0 and 3 when cut to 32 bits.
NOT_DESCRIPTORS = [-1, -100, 1 << 31, 1 << 32, (1 << 32) + 3, 1 << 70, -(1 << 70)]
CALLS_WITH_A_DESCRIPTOR: dict[str, Callable[[int], object]] = {
    "open_file": lambda fd: native.open_file(fd, "a", os.O_RDONLY, 0, 9),
    "openat2": lambda fd: native.openat2(fd, ".", os.O_PATH, 0, 0),
    "names": native.names,
    "stats": lambda fd: native.stats(fd, [b"a"]),
    "details": native.details,
    "read": lambda fd: native.read(fd, [b"a"], [1]),
    "zip_files": lambda fd: native.zip_files(fd, [(b"", b"", [entry()])], crc32),
    "scan": lambda fd: native.scan(fd, False),  # noqa: FBT003 - as C takes it
    "copy from": lambda fd: native.copy(fd, 0, 0, 0, False, False, False, STOP),  # noqa: FBT003 - as above
    "copy to": lambda fd: native.copy(0, fd, 0, 0, False, False, False, STOP),  # noqa: FBT003 - as above
    "unlink": lambda fd: native.unlink(fd, False, 0, 0, STOP),  # noqa: FBT003 - as above
}


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "a").write_bytes(b"abc")
    with opened(tmp_path) as descriptor:
        yield descriptor


def test_a_shorter_file_gives_only_its_own_bytes(directory: int) -> None:
    """No byte of the buffer that was not read leaves the function."""
    for planned in (4, 4096, 1 << 20):
        [(content, size, _, inode)] = native.read(directory, [b"a"], [planned])
        assert (content, size) == (b"abc", 3)
        assert inode == os.stat("a", dir_fd=directory).st_ino


def test_calls_that_fail_leave_no_descriptor_open(tmp_path: Path, directory: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in ("none", "a/below", "a" * 300):
        with pytest.raises(OSError, match=r"No such|Not a dir|too long"):
            os.close(native.open_file(directory, path, os.O_RDONLY, 0, 9)[0])
        assert descriptors.open_marked(str(tmp_path), "mark", path) is None
        assert descriptors.open_marked(str(tmp_path / path), "mark", "a") is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_cannot_be_read_is_closed_again(slow: BrittleFS) -> None:
    (slow.path / "unreadable").write_bytes(b"abc")
    slow.rules(Rule("read", "*/unreadable", error="EIO"))
    with opened(slow.path) as directory:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(OSError, match="Input/output error"):
            native.open_file(directory, "unreadable", os.O_RDONLY, 0, 9)
        assert len(os.listdir("/proc/self/fd")) == before
    slow.rules()


def test_a_directory_below_a_marked_top(tmp_path: Path) -> None:
    """What marks the top is said as `backends.fs.marker` says it."""
    (tmp_path / "x/y").mkdir(parents=True)
    (tmp_path / "link").symlink_to("x")
    for mark in ("a", marker.NAME):
        if mark == "a":
            (tmp_path / "a").write_bytes(b"abc")
            status = (tmp_path / "a").stat()
            facts = marker.Facts(status.st_dev, status.st_ino, status.st_ctime_ns)
        else:
            with opened(tmp_path) as top:
                facts = marker.facts(top)
        found = descriptors.open_marked(str(tmp_path), mark, "x/y")
        assert found is not None
        assert os.path.samestat(os.fstat(found[0]), (tmp_path / "x/y").stat())
        assert found[1:] == facts
        os.close(found[0])
    for path in ("link/y", "a", "..", "x/none"):
        assert descriptors.open_marked(str(tmp_path), marker.NAME, path) is None


def test_an_empty_and_a_longer_file(tmp_path: Path, directory: int) -> None:
    (tmp_path / "empty").touch()
    (empty, empty_size, *_), (part, size, *_) = native.read(directory, [b"empty", b"a"], [9, 2])
    assert (empty, empty_size) == (b"", 0)
    assert (part, size) == (b"ab", 3)


def test_a_time_beyond_64_bits_of_nanoseconds(tmp_path: Path, directory: int) -> None:
    at = 10_000_000_000 * 10**9 + 7  # the year 2286
    os.utime(tmp_path / "a", ns=(at, at))
    if os.stat(tmp_path / "a").st_mtime_ns != at:
        pytest.skip("this file system has no such time")
    [(_, _, mtime_ns, _)] = native.read(directory, [b"a"], [3])
    assert mtime_ns == at
    assert native.details(directory) == ([(b"a", *_details(tmp_path / "a"))], [])


def _details(path: Path) -> tuple[int, ...]:
    status = path.stat()
    times = status.st_mode, status.st_size, status.st_mtime_ns
    return (*times, status.st_ino, status.st_nlink, status.st_dev)


@pytest.mark.parametrize("name", CALLS_WITH_A_DESCRIPTOR)
@pytest.mark.parametrize("number", NOT_DESCRIPTORS)
def test_what_is_no_descriptor_is_refused(name: str, number: int) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        CALLS_WITH_A_DESCRIPTOR[name](number)


def test_negative_and_too_large_numbers_are_refused(directory: int) -> None:
    calls: list[Callable[[], object]] = [
        lambda: native.read(directory, [b"a"], [-1]),
        lambda: native.read(directory, [b"a"], [1 << 70]),
        lambda: native.read(directory, [b"a"], [-(1 << 70)]),
        lambda: native.scan(directory, False, -1),  # noqa: FBT003 - as C takes it
        lambda: native.scan(directory, False, 1 << 63),  # noqa: FBT003 - as above
        lambda: native.openat2(directory, ".", -1, 0, 0),
        lambda: native.openat2(directory, ".", 0, -1, 0),
        lambda: native.openat2(directory, ".", 0, 0, 1 << 64),
        lambda: native.open_file(directory, "a", -1, 0, 9),
        lambda: native.open_file(directory, "a", 0, 1 << 64, 9),
        lambda: native.open_file(directory, "a", 0, 0, -1),
        lambda: native.open_marked(".", "mark", "a", -1, 0),
        lambda: native.open_marked(".", "mark", "a", 0, -1),
    ]
    for below, bits in ((-1, 0), (1 << 63, 0), (0, -1), (0, 64), (0, 1 << 32)):
        calls.append(lambda b=below, g=bits: native.unlink(directory, False, b, g, STOP))  # type: ignore[misc] # noqa: FBT003 - as above
    for uid, gid in ((-1, 0), (0, -1), (1 << 32, 0), (0, 1 << 32)):
        calls.append(
            lambda u=uid, g=gid: native.copy(  # type: ignore[misc] # bound per call
                *(directory, directory, u, g, False, False, False, STOP)
            )
        )
    for call in calls:
        with pytest.raises(ValueError, match=r"negative|between|cannot fit"):
            call()


def test_an_inode_number_may_be_shifted_away(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with opened(tmp_path) as directory:
        assert native.unlink(directory, False, 9, 63, STOP) == (1, 0, [], [])  # noqa: FBT003 - as above


def test_names_with_nul_are_refused(directory: int) -> None:
    for call in (
        lambda: native.read(directory, [b"a\0b"], [1]),
        lambda: native.stats(directory, [b"a\0b"]),
        lambda: native.openat2(directory, "a\0b", os.O_PATH, 0, 0),
        lambda: native.open_file(directory, "a\0b", os.O_RDONLY, 0, 9),
        lambda: native.open_marked("a\0b", "mark", "a", os.O_RDONLY, 0),
        lambda: native.open_marked(".", "a\0b", "a", os.O_RDONLY, 0),
        lambda: native.open_marked(".", "mark", "a\0b", os.O_RDONLY, 0),
    ):
        with pytest.raises(ValueError, match="embedded null"):
            call()


def test_other_types_and_lengths_are_refused(directory: int) -> None:
    with pytest.raises(TypeError):
        native.read(directory, ["a"], [1])  # type: ignore[list-item] # on purpose
    with pytest.raises(TypeError):
        native.stats(directory, ["a"])  # type: ignore[list-item] # on purpose
    with pytest.raises(TypeError):
        native.names("a")  # type: ignore[arg-type] # on purpose
    with pytest.raises(TypeError):
        native.unlink(directory, False, 0, 0, b"\0")  # type: ignore[arg-type] # noqa: FBT003 - on purpose
    with pytest.raises(ValueError, match="differ in number"):
        native.read(directory, [b"a"], [])
    with pytest.raises(ValueError, match="stop is empty"):
        native.unlink(directory, False, 0, 0, bytearray())  # noqa: FBT003 - as above


def met(path: Path) -> Planned:
    """The entry that a plan has of a file now."""
    status = path.stat()
    return Planned(
        os.fsencode(path.name),
        status.st_mode,
        status.st_size,
        status.st_mtime_ns,
        status.st_ino,
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {"size": -1},
        {"size": 1 << 32},
        {"size": 1 << 70},
        {"mode": -1},
        {"mode": 1 << 32},
        {"mtime_ns": -1},
        {"mtime_ns": 2**31 * 10**9},
        {"inode": -1},
        {"inode": 1 << 64},
        {"name": b"a\0b"},
        {"name": b"n" * 0x10000},
        {"name": b"missing"},
        {"is_file": False},
    ],
)
def test_entries_that_no_zip_has_in_this_form_are_left_to_python(
    directory: int, attributes: dict[str, object]
) -> None:
    plain = met(Path(f"/proc/self/fd/{directory}/a"))
    for one in (entry(), entry(**attributes)):
        assert native.zip_files(directory, [(b"", b"", [plain, one])], crc32) is None
    for largest, attribute in ((3, attributes), (2, {})):
        records = [plain, entry(**attribute)]
        made = native.zip_records(b"", records, bytes(8), 0, largest)
        assert (made is None) == (attribute != {"name": b"missing"})
    assert native.zip_records(b"", [plain], bytes(4), 0xFFFF_FFFF, 9) is None
    assert native.zip_records(b"", [plain], bytes(4), 0xFFFF_FFFE, 9) is not None


def test_entries_of_a_zip_of_other_types_are_refused(directory: int) -> None:
    plain = met(Path(f"/proc/self/fd/{directory}/a"))
    for groups in ([(b"", b"")], [(b"", "", [])], [[b"", b"", []]], [(b"", b"", [None])], 1):
        with pytest.raises((TypeError, AttributeError)):
            native.zip_files(directory, groups, crc32)  # type: ignore[arg-type] # on purpose
    with pytest.raises(ValueError, match="embedded null"):
        native.zip_files(directory, [(b"a\0", b"", [plain])], crc32)
    for attributes in ({"name": "a"}, {"target": None}, {"size": "3"}):
        with pytest.raises(TypeError):
            native.zip_files(directory, [(b"", b"", [entry(**attributes)])], crc32)
        with pytest.raises(TypeError):
            native.zip_records(b"", [entry(**attributes)], bytes(4), 0, 9)
    with pytest.raises(ValueError, match="differ in number"):
        native.zip_records(b"", [plain], bytes(5), 0, 9)
    for checksum, error in ((lambda _: -1, ValueError), (lambda _: 1 / 0, ZeroDivisionError)):
        with pytest.raises(error):
            native.zip_files(directory, [(b"", b"", [plain])], checksum)


def test_a_checksum_may_keep_what_it_was_given(directory: int) -> None:
    kept: list[memoryview] = []

    def checksum(data: memoryview) -> int:
        kept.append(data)
        return crc32(data)

    plain = met(Path(f"/proc/self/fd/{directory}/a"))
    made = native.zip_files(directory, [(b".", b"", [plain])], checksum)
    assert made is not None
    del made
    gc.collect()
    assert bytes(kept[0]) == b"abc"


def test_attributes_that_change_while_they_are_read_do_no_harm(directory: int) -> None:
    """The attributes of an entry may be Python code."""
    plain = met(Path(f"/proc/self/fd/{directory}/a"))
    entries: list[Planned] = []

    class Clearing(Planned):
        def __getattribute__(self, name: str) -> object:
            entries.clear()
            gc.collect()
            value = getattr(plain, name)
            return bytes(bytearray(value)) if isinstance(value, bytes) else value

    entries += [Clearing(), plain]
    made = native.zip_files(directory, [(b"", b"p/", entries)], crc32)
    assert made is not None
    assert made[0].count(b"p/a") == 2


def test_a_size_that_changes_its_list_does_no_harm(tmp_path: Path, directory: int) -> None:
    """The conversion of an argument runs Python code, which may clear the lists."""
    names = [b"a", b"a"]
    sizes: list[int] = []

    class Clearing:
        def __index__(self) -> int:
            names.clear()
            sizes.clear()
            gc.collect()
            return 3

    sizes += [Clearing(), 3]  # type: ignore[list-item] # on purpose
    contents = [content for content, *_ in native.read(directory, names, sizes)]
    assert contents == [b"abc", b"abc"]


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrittleFS]:
    """A file system whose calls hang on request."""
    with brittlefs.mounted(tmp_path_factory.mktemp("slow")) as volume:
        yield volume


def hung(volume: BrittleFS, rule: Rule, call: Callable[[], object], meanwhile: object) -> object:
    """Run a call in a thread, and something else while the call hangs in the kernel."""
    results: list[object] = []
    volume.rules(rule)
    thread = threading.Thread(target=lambda: results.append(call()))
    try:
        thread.start()
        volume.wait_for_hit()
        assert callable(meanwhile)
        meanwhile()
        gc.collect()
    finally:
        volume.heal()
        thread.join(60)
    [result] = results
    return result


@pytest.mark.part("fuse")
@pytest.mark.parametrize("function", ["stats", "read", "zip_files"])
def test_lists_may_change_while_the_call_hangs(slow: BrittleFS, function: str) -> None:
    for name in ("first", "second"):
        (slow.backing / name).write_bytes(name.encode())
    names = [bytes(bytearray(name)) for name in (b"first", b"second")]  # they die with the list
    sizes = [5, 6]
    entries = [met(slow.path / name) for name in ("first", "second")]
    checksums: list[int] = []

    def change() -> None:
        names[:] = [b"x" * 100 for _ in range(100)]
        sizes.clear()
        for one in entries:
            one.name = one.target = b"y" * 100
        entries.clear()

    def checksum(content: memoryview) -> int:
        checksums.append(crc32(content))
        return checksums[-1]

    with opened(slow.path) as directory:
        call = {
            "stats": lambda: [one and one[1] for one in native.stats(directory, names)],
            "read": lambda: [content for content, *_ in native.read(directory, names, sizes)],
            "zip_files": lambda: native.zip_files(directory, [(b"", b"", entries)], checksum),
        }[function]
        result = hung(slow, Rule("getattr", "*/first", hang=True), call, change)
    if function == "zip_files":
        assert checksums == [crc32(b"first"), crc32(b"second")]
        return
    assert result == {"stats": [5, 6], "read": [b"first", b"second"]}[function]


@pytest.mark.part("fuse")
def test_the_flag_is_held_and_seen_while_the_call_hangs(slow: BrittleFS) -> None:
    below = slow.backing / "flagged"
    below.mkdir()
    for name in ("1", "2", "3"):
        (below / name).touch()
    flag = bytearray(1)

    def stop() -> None:
        with pytest.raises(BufferError):
            flag.extend(b"x" * 100)
        flag[0] = 1

    with opened(slow.path / "flagged") as directory:
        rule = Rule("unlink", "*", hang=True)
        result = hung(slow, rule, lambda: native.unlink(directory, False, 0, 0, flag), stop)  # noqa: FBT003 - as above
    assert isinstance(result, tuple)
    assert result[0] == 1, "the call that hung is the last"
    assert len(list(below.iterdir())) == 2
    flag.extend(b"x")  # not held any more


INTERRUPTED = """
import os, sys
from types import SimpleNamespace
from zlib import crc32
from backends.fs import native
top = os.open(sys.argv[1], os.O_RDONLY)
stop, user = bytearray(1), (os.getuid(), os.getgid())
assert native.names(top) == ["a"]
assert native.stats(top, [b"a"])[0][1] == 3
assert native.read(top, [b"a"], [3])[0][0] == b"abc"
os.lseek(top, 0, 0)
[(_, mode, size, mtime_ns, inode, *_)], _ = native.details(top)
planned = SimpleNamespace(
    name=b"a", mode=mode, size=size, mtime_ns=mtime_ns, inode=inode,
    target=b"", is_file=True, is_directory=False,
)
assert native.zip_files(top, [(b"", b"", [planned])], crc32)[0].endswith(b"abc")
os.lseek(top, 0, 0)
assert native.scan(top, False)[2] == 1
os.lseek(top, 0, 0)
os.mkdir(sys.argv[1] + "/to")
to = native.openat2(top, "to", os.O_RDONLY, 0, 0)
assert native.copy(top, to, *user, False, False, False, stop)[0] == 1
os.lseek(top, 0, 0)
assert native.unlink(top, False, 9, 0, stop)[:2] in [(1, 0), (2, 1)]
"""
CALLS = ["getdents64", "newfstatat", "openat", "openat2", "read", "write", "unlinkat", "utimensat"]


@pytest.mark.part("strace")
@pytest.mark.parametrize("call", CALLS)
def test_an_interrupted_call_is_made_again(tmp_path: Path, call: str) -> None:
    """Every second call on the directory is answered EINTR."""
    (tmp_path / "a").write_bytes(b"abc")
    inject = [f"trace={call}", f"inject={call}:error=EINTR:when=1+2"]
    paths = [tmp_path, tmp_path / "a", tmp_path / "to", tmp_path / "to/a"]
    words = [word for value in inject for word in ("-e", value)]
    words += [word for path in paths for word in ("-P", str(path))]
    log = tmp_path.parent / f"{call}.strace"
    subprocess.run(
        ["strace", "-f", "-qq", "-o", log, *words, sys.executable, "-c", INTERRUPTED, tmp_path],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        check=True,
    )
    assert "EINTR" in log.read_text()


RAISING = """
import os, signal, sys
from backends.fs import native
def handle(*_):
    raise TimeoutError("from the handler")
signal.signal(signal.SIGALRM, handle)
top = os.open(sys.argv[1], os.O_RDONLY)
for call in (lambda: native.names(top), lambda: native.scan(top, False)):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        call()
    except TimeoutError:
        print("raised")
"""


@pytest.mark.part("strace")
def test_what_a_signal_handler_raises_ends_the_call(tmp_path: Path) -> None:
    """Calls that the kernel interrupts for ever end when the handler of the signal raises."""
    inject = ["-e", "trace=getdents64", "-e", "inject=getdents64:error=EINTR"]
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(tmp_path), *inject]
    done = subprocess.run(
        [*strace, sys.executable, "-c", RAISING, tmp_path],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["raised", "raised"]


def test_threads_that_share_nothing_work_side_by_side(tmp_path: Path) -> None:
    """A stress of all functions, for the sanitizers."""
    for number in range(40):
        with (tmp_path / f"{number}").open("wb") as file:
            file.write(bytes(number))
            file.flush()
            os.fsync(file.fileno())  # while its blocks are written, a file may be said to have none
    names = [f"{number}".encode() for number in range(40)]
    planned = [met(tmp_path / f"{number}") for number in range(40)]

    def work() -> None:
        for _ in range(20):
            with opened(tmp_path) as directory:
                assert len(native.names(directory)) == 40
                assert len(native.stats(directory, names)) == 40
                sizes = [size for _, size, *_ in native.read(directory, names, [99] * 40)]
                assert sizes == list(range(40))
                os.lseek(directory, 0, os.SEEK_SET)
                made = native.zip_files(directory, [(b"", b"", planned)], crc32)
                assert made is not None
                assert len(made[1]) == 4 * 40
                assert native.zip_records(b"", planned, made[1], 0, 99) is not None
                scanned = native.scan(directory, True, 1)  # noqa: FBT003 - as above
                assert scanned is not None
                assert scanned[0] == sum(range(40))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_signals_reach_python_after_the_calls(directory: int) -> None:
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        native.names(directory)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [1]
