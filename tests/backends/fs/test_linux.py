"""System calls: the same through C and through ctypes, and errors as OSError."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.fs import linux, native

BACKENDS = Path(linux.__file__).parents[1]
OPENING = "import os; from backends.fs import linux; linux.{}(os.open('/', 0), '.', 0, 0, 0)"
Opens = Callable[[int, str, int, int, int], int]
BOTH = pytest.mark.parametrize("opens", [linux.openat2, linux._openat2], ids=["chosen", "ctypes"])


@pytest.fixture
def top(tmp_path: Path) -> int:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/file").write_text("abc")
    (tmp_path / "link").symlink_to("below")
    return os.open(tmp_path, os.O_PATH)


@BOTH
def test_openat2_opens_and_creates(top: int, opens: Opens) -> None:
    fd = opens(top, "below/file", os.O_RDONLY | os.O_CLOEXEC, 0, linux.RESOLVE_BENEATH)
    assert os.read(fd, 9) == b"abc"
    made = opens(top, "new", os.O_WRONLY | os.O_CREAT, 0o640, linux.RESOLVE_BENEATH)
    assert os.fstat(made).st_mode & 0o7777 == 0o640 & ~_umask()
    for descriptor in (fd, made, top):
        os.close(descriptor)


@BOTH
@pytest.mark.parametrize(
    ("path", "resolve", "error"),
    [
        ("..", linux.RESOLVE_BENEATH, "Invalid cross-device link"),
        ("link/file", linux.RESOLVE_NO_SYMLINKS, "Too many levels of symbolic links"),
        ("gone", 0, "No such file or directory"),
        ("below", 1 << 60, "Invalid argument"),
    ],
)
def test_openat2_raises_what_the_kernel_answers(
    top: int, opens: Opens, path: str, resolve: int, error: str
) -> None:
    with pytest.raises(OSError, match=error):
        opens(top, path, os.O_RDONLY, 0, resolve)
    os.close(top)


@pytest.mark.part("strace")
@pytest.mark.parametrize("name", ["openat2", "_openat2"])
@pytest.mark.parametrize("error", ["EAGAIN", "EINTR"])
def test_openat2_is_made_again_while_renames_or_signals_disturb_it(name: str, error: str) -> None:
    script = OPENING.format(name)
    inject = ["-e", "trace=openat2", "-e", f"inject=openat2:error={error}:when=1..3"]
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", *inject]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    subprocess.run([*strace, sys.executable, "-c", script], env=environment, check=True)


@pytest.mark.part("strace")
@pytest.mark.parametrize("name", ["openat2", "_openat2"])
def test_openat2_gives_up_when_renames_never_pause(name: str) -> None:
    script = OPENING.format(name)
    inject = ["-e", "trace=openat2", "-e", "inject=openat2:error=EAGAIN"]
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", *inject]
    done = subprocess.run(
        [*strace, sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "BlockingIOError" in done.stderr


@pytest.mark.part("strace")
def test_without_openat2_paths_are_walked(tmp_path: Path) -> None:
    """A filter of seccomp forbids the call; the same paths open, and none leads outside."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below/file").write_text("abc")
    (tmp_path / "out").symlink_to("/etc")
    script = """
import os, sys
from backends.fs import linux, paths
from core.errors import PathEscape
from core.names import VFolderPath
assert not linux.kernel_resolves()
top = paths.open_root(sys.argv[1])
assert os.read(paths.open_file(top, VFolderPath.parse("below/file")), 9) == b"abc"
try:
    paths.open_file(top, VFolderPath.parse("out/passwd"))
except PathEscape:
    print("refused")
"""
    inject = ["-e", "trace=openat2", "-e", "inject=openat2:error=EPERM"]
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", *inject, sys.executable, "-c", script, tmp_path],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "refused\n"


def test_errors_of_every_call_are_raised(tmp_path: Path) -> None:
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    calls: list[Callable[[], object]] = [
        lambda: linux.rename_noreplace("gone", file, "name", file),
        lambda: linux.begin_writeback(-1, 0, 1),
        lambda: linux.sync_file_system(-1),
        lambda: linux.preallocate(file, 0, 0),
        lambda: linux.clone_file(-1, file),
        lambda: linux.magic(-1),
        lambda: linux.quotactl(0, -1, 0, linux.buffer_of(b"", 64)),
    ]
    for call in calls:
        with pytest.raises((OSError, ValueError)):
            call()
    os.close(file)


def test_a_buffer_begins_with_its_content() -> None:
    assert linux.buffer_of(b"ab", 4).raw == b"ab\0\0"
    assert linux.buffer_of(b"abc").raw == b"abc"


def test_no_other_file_of_backends_calls_libc() -> None:
    wrong = [
        str(path.relative_to(BACKENDS))
        for path in BACKENDS.rglob("*.py")
        if path.name != "linux.py" and "ctypes" in path.read_text("utf-8")
    ]
    assert not wrong


def test_the_functions_in_c_are_found_by_one_module() -> None:
    wrong = [
        str(path.relative_to(BACKENDS))
        for path in BACKENDS.rglob("*.py")
        if path.name != "native.py" and "_native import" in path.read_text("utf-8")
    ]
    assert not wrong
    assert native.AVAILABLE or not os.environ.get("CI")


def _umask() -> int:
    before = os.umask(0)
    os.umask(before)
    return before
