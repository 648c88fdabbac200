"""Paths beneath a root: the kernel and the walk in Python keep the same rules."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.fs import linux, paths, translate
from core.errors import (
    EntryExists,
    EntryNotFound,
    InvalidName,
    InvalidParameters,
    PathEscape,
    StorageError,
)
from core.names import VFolderPath

Opener = Callable[[int, str, int, int], int]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/file").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    (root / "out").symlink_to("../secret")
    (root / "out-deep").symlink_to("a/../../secret")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "absolute-inside").symlink_to(root / "a")
    (root / "in").symlink_to("a/b/")
    (root / "a/up").symlink_to("../a/./b/file")
    (root / "loop").symlink_to("loop")
    (root / "proc").symlink_to("/proc/self/root/etc")
    (root / "dangling").symlink_to("a/later")
    os.mkfifo(root / "fifo")
    return root


@pytest.fixture
def root_fd(tree: Path) -> Iterator[int]:
    fd = paths.open_root(tree)
    yield fd
    os.close(fd)


@pytest.fixture(params=["kernel", "walk"])
def opener(request: pytest.FixtureRequest) -> Opener:
    if request.param == "walk":
        return paths._walk
    if not linux.kernel_resolves():
        pytest.skip("this kernel has no openat2")
    return paths._openat2


def content(fd: int) -> bytes:
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


@pytest.mark.parametrize("path", ["a/b/file", "in/file", "a/up", "in//file", "./a/./b/file"])
def test_paths_that_stay_inside_open(root_fd: int, opener: Opener, path: str) -> None:
    assert content(opener(root_fd, path, os.O_RDONLY, 0)) == b"inside"


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("out", errno.EXDEV),
        ("out-deep", errno.EXDEV),
        ("absolute", errno.EXDEV),
        ("absolute-inside/b/file", errno.EXDEV),
        ("proc/passwd", errno.EXDEV),
        ("..", errno.EXDEV),
        ("a/../..", errno.EXDEV),
        ("loop", errno.ELOOP),
        ("a/b/file/more", errno.ENOTDIR),
        ("a/none/more", errno.ENOENT),
        ("dangling", errno.ENOENT),
        ("n" * 256, errno.ENAMETOOLONG),
    ],
)
def test_paths_that_lead_outside_or_nowhere_are_refused(
    root_fd: int, opener: Opener, path: str, number: int
) -> None:
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        os.close(opener(root_fd, path, os.O_RDONLY, 0))
    assert caught.value.errno == number


def test_nofollow_refuses_a_last_link(root_fd: int, opener: Opener) -> None:
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        os.close(opener(root_fd, "in", os.O_RDONLY | os.O_NOFOLLOW, 0))
    assert caught.value.errno == errno.ELOOP
    fd = opener(root_fd, "in", os.O_PATH | os.O_NOFOLLOW, 0)
    try:
        assert stat.S_ISLNK(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


def test_creating_through_a_link_stays_inside_and_exclusive_refuses_it(
    tree: Path, root_fd: int, opener: Opener
) -> None:
    with pytest.raises(FileExistsError):
        os.close(opener(root_fd, "dangling", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    os.close(opener(root_fd, "dangling", os.O_CREAT | os.O_WRONLY, 0o600))
    assert (tree / "a/later").exists()


def test_open_beneath_follows_links_inside(root_fd: int) -> None:
    assert content(paths.open_beneath(root_fd, VFolderPath.parse("a/up"))) == b"inside"


@pytest.mark.parametrize(
    ("path", "kind"),
    [("out", PathEscape), ("loop", PathEscape), ("a/none", EntryNotFound)],
)
def test_errors_have_our_classes_and_no_path_of_the_host(
    tree: Path, root_fd: int, path: str, kind: type[StorageError]
) -> None:
    with pytest.raises(kind) as caught:
        paths.open_beneath(root_fd, VFolderPath.parse(path))
    assert str(tree) not in caught.value.detail
    assert caught.value.facts["errno"] in (errno.EXDEV, errno.ELOOP, errno.ENOENT)


@pytest.mark.parametrize("path", ["fifo", "a", ""])
def test_only_regular_files_have_content(root_fd: int, path: str) -> None:
    with pytest.raises(InvalidParameters):
        paths.open_file(root_fd, VFolderPath.parse(path))


Opened = Callable[[int, VFolderPath, int], paths.OpenedFile]


@pytest.fixture(params=["c", "python"])
def open_small(request: pytest.FixtureRequest) -> Opened:
    return paths.open_small_file if request.param == "c" else paths._open_small_file


@pytest.mark.parametrize("path", ["a/b/file", "in/file", "a/up"])
def test_a_small_file_is_read_whole(root_fd: int, open_small: Opened, path: str) -> None:
    name = VFolderPath.parse(path)
    status = paths.stat_beneath(root_fd, name)
    facts = status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns
    assert open_small(root_fd, name, 6) == (-1, *facts, b"inside")
    larger = open_small(root_fd, name, 5)
    assert larger[1:] == (*facts, None)
    assert content(larger.descriptor) == b"inside"
    assert paths.file_tag(larger) == paths.file_tag(status)


def test_an_empty_file_is_opened_only(tree: Path, root_fd: int, open_small: Opened) -> None:
    (tree / "empty").touch()
    found = open_small(root_fd, VFolderPath.parse("empty"), 9)
    assert (found.st_size, found.content) == (0, None)
    assert content(found.descriptor) == b""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("out", PathEscape),
        ("proc", PathEscape),
        ("loop", PathEscape),
        ("a/none", EntryNotFound),
        ("fifo", InvalidParameters),
        ("a", InvalidParameters),
        ("", InvalidParameters),
    ],
)
def test_no_other_entry_is_read_as_a_small_file(
    tree: Path, root_fd: int, open_small: Opened, path: str, kind: type[StorageError]
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(kind) as caught:
        open_small(root_fd, VFolderPath.parse(path), 100)
    assert str(tree) not in caught.value.detail
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_small_file_below_a_long_path(root_fd: int) -> None:
    """Longer than the kernel takes at once."""
    parts = VFolderPath(("n" * 200,) * 30)
    descriptor = paths.make_directories(root_fd, parts)
    file = os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor)
    os.write(file, b"deep")
    os.close(file)
    os.close(descriptor)
    assert paths.open_small_file(root_fd, parts / VFolderPath(("f",)), 9).content == b"deep"


def test_a_file_is_refused_where_a_directory_is_meant(root_fd: int) -> None:
    with pytest.raises(InvalidParameters):
        paths.open_directory(root_fd, VFolderPath.parse("a/b/file"))


def test_attributes_of_a_link_or_of_its_target(root_fd: int) -> None:
    link = VFolderPath.parse("in")
    assert stat.S_ISDIR(paths.stat_beneath(root_fd, link).st_mode)
    assert stat.S_ISLNK(paths.stat_beneath(root_fd, link, follow=False).st_mode)


def test_effects_act_on_the_entry_itself(tree: Path, root_fd: int) -> None:
    with paths.parent_beneath(root_fd, VFolderPath.parse("out")) as (parent, name):
        os.unlink(name, dir_fd=parent)
    assert not (tree / "out").is_symlink()
    assert (tree.parent / "secret").exists()


def test_errors_of_effects_have_our_classes(root_fd: int) -> None:
    with (
        pytest.raises(EntryExists),
        paths.parent_beneath(root_fd, VFolderPath.parse("a")) as (parent, name),
    ):
        os.mkdir(name, dir_fd=parent)
    with pytest.raises(InvalidParameters), paths.parent_beneath(root_fd, VFolderPath(())):
        pytest.fail("the root has no parent")


def test_directories_are_made_where_missing_and_never_through_an_outward_link(
    tree: Path, root_fd: int
) -> None:
    os.close(paths.make_directories(root_fd, VFolderPath.parse("in/x/y"), 0o700))
    assert (tree / "a/b/x/y").is_dir()
    os.close(paths.make_directories(root_fd, VFolderPath(())))
    with pytest.raises(InvalidParameters):
        paths.make_directories(root_fd, VFolderPath.parse("a/b/file/z"))
    (tree / "outdir").symlink_to("..")
    with pytest.raises(PathEscape):
        paths.make_directories(root_fd, VFolderPath.parse("outdir/made"))
    assert not (tree.parent / "made").exists()


def test_names_that_are_not_utf8_are_shown_escaped(root_fd: int) -> None:
    with pytest.raises(EntryNotFound) as caught:
        paths.open_beneath(root_fd, VFolderPath.parse(os.fsdecode(b"z\xe9")))
    assert caught.value.detail == "z\\xe9 does not exist."
    with pytest.raises(InvalidName):
        raise translate(OSError(errno.ENAMETOOLONG, ""), "x")


def outcome(opener: Opener, fd: int, path: str, flags: int) -> tuple[int, int] | int:
    try:
        opened = opener(fd, path, flags, 0)
    except OSError as error:
        return error.errno or 0
    try:
        status = os.fstat(opened)
        return status.st_dev, status.st_ino
    finally:
        os.close(opened)


parts = st.sampled_from(["a", "b", "c", "..", ".", "", "l", "m", "n"])
routes = st.lists(parts, min_size=1, max_size=6).map("/".join)
links = st.builds(
    lambda slash, route: ("/" if slash else "") + route, st.booleans(), routes
).filter(bool)


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(links, min_size=3, max_size=3), route=routes, nofollow=st.booleans())
def test_kernel_and_walk_agree_on_any_links(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], route: str, *, nofollow: bool
) -> None:
    if not linux.kernel_resolves():
        pytest.skip("this kernel has no openat2")
    root = tmp_path_factory.mktemp("web", numbered=True)
    (root / "a/b/c").mkdir(parents=True)
    (root / "b").write_text("file")
    for place, text in zip(("l", "a/m", "a/b/n"), texts, strict=True):
        (root / place).symlink_to(text)
    fd = paths.open_root(root)
    flags = os.O_PATH | (os.O_NOFOLLOW if nofollow else 0)
    try:
        path = route.lstrip("/") or "."
        assert outcome(paths._walk, fd, path, flags) == outcome(paths._openat2, fd, path, flags)
    finally:
        os.close(fd)
