"""The thread that begins a job: separate from its process, stopped soon, left behind on a hang."""

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from backends.tree import Effort, RemoveOptions, Throttle, compare_trees, copy_tree, remove_tree
from backends.tree.fast import Loops, Plain
from backends.tree.processes import HelperChannel, Message
from contract.trees import Opener, hostile
from core.errors import NoSpace
from core.jobs import Cancelled, Counter, Unattended
from tests.backends.tree.processes import in_child, open_files
from tests.backends.tree.test_helper_pool import run, wait_until

needs_unshare = pytest.mark.part("unshare")
PRIVATE = 0o077


class Stopping(Unattended):
    """Says stop after some calls of `check`."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Cancelled


class StoppingOnce(Unattended):
    """Says stop once an event has happened: a thread may begin late."""

    def __init__(self, happened: threading.Event) -> None:
        super().__init__()
        self._happened = happened

    def check(self) -> None:
        if self._happened.is_set():
            raise Cancelled


def spare(path: Path) -> int:
    """Return a descriptor of `path` for a pool to own."""
    return os.open(path, os.O_PATH)


def is_open(fd: int, path: Path) -> bool:
    """Return whether `fd` is still a descriptor of `path`, not of a file opened since."""
    return open_files().get(fd) == str(path)


@needs_unshare
def test_a_short_job_forks_nothing_and_leaves_no_descriptor(tmp_path: Path) -> None:
    def short_job() -> tuple[bool, dict[int, str], dict[int, str]]:
        before = open_files()
        pids = run(lambda *_: os.getpid(), [1], own_fds=[spare(tmp_path)])
        return pids == [os.getpid()], before, open_files()

    in_this_process, before, after = in_child(short_job)  # other threads also open descriptors
    assert in_this_process
    assert before == after


def test_a_long_job_goes_on_in_processes(tmp_path: Path) -> None:
    def work(_: Message, channel: HelperChannel) -> int:
        channel.count(Counter.LISTED, 1)
        threading.Event().wait(0.002)
        return os.getpid()

    control = Unattended()
    replies = run(work, list(range(200)), own_fds=[spare(tmp_path)], control=control)
    assert set(replies) - {os.getpid()}
    assert control.counts[Counter.LISTED] == [200, 0]


@needs_unshare
def test_the_thread_gets_the_nice_value_and_its_process_does_not(tmp_path: Path) -> None:
    before = os.nice(0)
    (nice,) = run(
        lambda *_: os.nice(0), [1], own_fds=[spare(tmp_path)], effort=Effort(nice=3, idle_io=True)
    )
    assert (nice, os.nice(0)) == (min(19, before + 3), before)


def test_work_with_a_limit_gets_a_process(tmp_path: Path) -> None:
    throttle = Throttle(operations_per_second=1000)
    effort = Effort(throttle=throttle)
    (pid,) = run(lambda *_: os.getpid(), [1], own_fds=[spare(tmp_path)], effort=effort)
    throttle.close()
    assert pid != os.getpid()


@needs_unshare
def test_the_umask_of_the_process_neither_affects_the_copy_nor_changes(
    tmp_path: Path, anchor: Opener
) -> None:
    source = hostile(tmp_path / "a")
    before = os.umask(PRIVATE)
    try:
        copy_tree(anchor(source), anchor(tmp_path / "b"), control=Unattended())
        assert (
            list(compare_trees(anchor(source), anchor(tmp_path / "b"), control=Unattended())) == []
        )
    finally:
        assert os.umask(before) == PRIVATE


@needs_unshare
def test_a_failure_in_the_thread_ends_the_job(tmp_path: Path) -> None:
    def work(_: Message, __: HelperChannel) -> None:
        raise NoSpace("The volume is full.")

    with pytest.raises(NoSpace):
        run(work, [1], own_fds=[spare(tmp_path)])


@needs_unshare
def test_a_stop_takes_effect_at_the_next_entry(tmp_path: Path) -> None:
    begun, ended = threading.Event(), threading.Event()

    def work(_: Message, channel: HelperChannel) -> None:
        begun.set()
        try:
            while True:
                channel.tick()
        finally:
            ended.set()

    fd = spare(tmp_path)
    with pytest.raises(Cancelled):
        run(work, [1], own_fds=[fd], control=StoppingOnce(begun), size=1)
    wait_until(ended.is_set)
    wait_until(lambda: not is_open(fd, tmp_path))


@needs_unshare
def test_a_hanging_thread_keeps_the_fence_and_its_descriptors_until_it_ends(tmp_path: Path) -> None:
    storage, begun = threading.Event(), threading.Event()

    def work(_: Message, __: HelperChannel) -> None:
        begun.set()
        storage.wait()

    fd, fence = spare(tmp_path), os.open(tmp_path / "fence", os.O_CREAT | os.O_RDWR)
    other = os.open(tmp_path / "fence", os.O_RDWR)
    fcntl.flock(fence, fcntl.LOCK_EX)
    effort, control = Effort(fence=(fence,)), StoppingOnce(begun)
    with pytest.raises(Cancelled):
        run(work, [1], own_fds=[fd], effort=effort, control=control, size=1)
    os.close(fence)
    assert is_open(fd, tmp_path)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    storage.set()
    wait_until(lambda: not is_open(fd, tmp_path))
    fcntl.flock(other, fcntl.LOCK_EX)
    os.close(other)


@pytest.mark.part("strace")
def test_without_unshare_all_helpers_are_processes() -> None:
    script = (
        "import os; from tests.backends.tree.test_helper_pool import run;"
        "from backends.tree import threads_fit;"
        "assert not threads_fit();"
        "assert run(lambda *_: os.getpid(), [1], own_fds=[os.dup(0)]) != [os.getpid()]"
    )
    forbid = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=unshare:error=EPERM"]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    subprocess.run([*forbid, sys.executable, "-c", script], env=environment, check=True)


@pytest.mark.parametrize("native", [True, False], ids=["c", "python"])
def test_with_the_stop_flag_set_the_loops_leave_everything(tmp_path: Path, *, native: bool) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    target.mkdir()
    for number in range(3):
        (source / str(number)).write_text("x")
    loops, stop_flag = Loops(native=native), bytearray(b"\1")
    fds = os.open(source, os.O_RDONLY), os.open(target, os.O_RDONLY)
    status = source.stat()
    rule = Plain(status.st_uid, status.st_gid, noatime=False, xattrs=False, flags=False)
    left = [name for _, _, others in loops.copy(*fds, rule, stop_flag) for name, _ in others]
    assert sorted(left) == ["0", "1", "2"]
    os.lseek(fds[0], 0, os.SEEK_SET)
    left = loops.unlink(fds[0], stop_flag, many=True, below=9)
    gone = [(files, dropped, sorted(others)) for files, dropped, _, others in left]
    assert gone == [(0, 0, ["0", "1", "2"])]
    assert len(list(source.iterdir())) == 3
    assert list(target.iterdir()) == []
    for fd in fds:
        os.close(fd)


def test_a_stopped_deletion_continues_later(tmp_path: Path, anchor: Opener) -> None:
    root = hostile(tmp_path / "a")
    for checks in range(40):
        try:
            remove_tree(
                anchor(tmp_path), root.name, control=Stopping(checks), options=RemoveOptions()
            )
            break
        except Cancelled:
            continue
    assert not root.exists()
