"""Resolution beneath a root: the kernel's way and the one by hand keep the same rules."""

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
def house(tmp_path: Path) -> Path:
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
def root_fd(house: Path) -> Iterator[int]:
    fd = paths.open_root(house)
    yield fd
    os.close(fd)


@pytest.fixture(params=["kernel", "by hand"])
def opener(request: pytest.FixtureRequest) -> Opener:
    if request.param == "by hand":
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
def test_what_stays_inside_opens(root_fd: int, opener: Opener, path: str) -> None:
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
def test_what_leads_outside_or_nowhere_does_not(
    root_fd: int, opener: Opener, path: str, number: int
) -> None:
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        os.close(opener(root_fd, path, os.O_RDONLY, 0))
    assert caught.value.errno == number


def test_a_last_link_is_not_followed_when_so_asked(root_fd: int, opener: Opener) -> None:
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        os.close(opener(root_fd, "in", os.O_RDONLY | os.O_NOFOLLOW, 0))
    assert caught.value.errno == errno.ELOOP
    fd = opener(root_fd, "in", os.O_PATH | os.O_NOFOLLOW, 0)
    try:
        assert stat.S_ISLNK(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


def test_creating_through_a_link_stays_inside_and_exclusive_refuses_it(
    house: Path, root_fd: int, opener: Opener
) -> None:
    with pytest.raises(FileExistsError):
        os.close(opener(root_fd, "dangling", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    os.close(opener(root_fd, "dangling", os.O_CREAT | os.O_WRONLY, 0o600))
    assert (house / "a/later").exists()


def test_the_kernel_of_today_is_asked(root_fd: int) -> None:
    assert content(paths.open_beneath(root_fd, VFolderPath.parse("a/up"))) == b"inside"


@pytest.mark.parametrize(
    ("path", "kind"),
    [("out", PathEscape), ("loop", PathEscape), ("a/none", EntryNotFound)],
)
def test_failures_speak_our_words_and_no_host_path(
    house: Path, root_fd: int, path: str, kind: type[StorageError]
) -> None:
    with pytest.raises(kind) as caught:
        paths.open_beneath(root_fd, VFolderPath.parse(path))
    assert str(house) not in caught.value.detail
    assert caught.value.facts["errno"] in (errno.EXDEV, errno.ELOOP, errno.ENOENT)


@pytest.mark.parametrize("path", ["fifo", "a", ""])
def test_only_regular_files_have_content(root_fd: int, path: str) -> None:
    with pytest.raises(InvalidParameters):
        paths.open_file(root_fd, VFolderPath.parse(path))


def test_a_file_that_is_asked_for_as_directory_is_the_callers_mistake(root_fd: int) -> None:
    with pytest.raises(InvalidParameters):
        paths.open_directory(root_fd, VFolderPath.parse("a/b/file"))


def test_attributes_of_a_link_or_of_what_it_names(root_fd: int) -> None:
    link = VFolderPath.parse("in")
    assert stat.S_ISDIR(paths.stat_beneath(root_fd, link).st_mode)
    assert stat.S_ISLNK(paths.stat_beneath(root_fd, link, follow=False).st_mode)


def test_effects_act_on_the_entry_itself(house: Path, root_fd: int) -> None:
    with paths.parent_beneath(root_fd, VFolderPath.parse("out")) as (parent, name):
        os.unlink(name, dir_fd=parent)
    assert not (house / "out").is_symlink()
    assert (house.parent / "secret").exists()


def test_effects_fail_in_our_words(root_fd: int) -> None:
    with (
        pytest.raises(EntryExists),
        paths.parent_beneath(root_fd, VFolderPath.parse("a")) as (parent, name),
    ):
        os.mkdir(name, dir_fd=parent)
    with pytest.raises(InvalidParameters), paths.parent_beneath(root_fd, VFolderPath(())):
        pytest.fail("the root has no parent")


def test_directories_are_made_where_missing_and_never_through_an_outward_link(
    house: Path, root_fd: int
) -> None:
    os.close(paths.make_directories(root_fd, VFolderPath.parse("in/x/y"), 0o700))
    assert (house / "a/b/x/y").is_dir()
    os.close(paths.make_directories(root_fd, VFolderPath(())))
    with pytest.raises(InvalidParameters):
        paths.make_directories(root_fd, VFolderPath.parse("a/b/file/z"))
    (house / "outdir").symlink_to("..")
    with pytest.raises(PathEscape):
        paths.make_directories(root_fd, VFolderPath.parse("outdir/made"))
    assert not (house.parent / "made").exists()


def test_names_that_are_no_text_are_shown_escaped(root_fd: int) -> None:
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
def test_both_ways_agree_on_any_web_of_links(
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
