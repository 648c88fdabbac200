"""Helpers: their replies arrive, they stop, they end with their parent, they hold few files."""

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from backends.tree import Effort, Throttle
from backends.tree.processes import HelperChannel, HelperPool, Message
from core.errors import Defect, HelperDied, NoSpace, QuotaExceeded, StorageUnavailable
from core.jobs import Cancelled, Counter, Unattended
from tests.backends.tree.processes import open_files

WAIT_SECONDS = 60.0


def run(work, batches: list[Message], *, size: int = 2, control=None, **options) -> list[Message]:  # noqa: ANN001, ANN003 - a test's shorthand
    """Return the replies to `batches`; whatever happens, all helper processes must be reaped."""
    replies: list[Message] = []
    pids: list[int] = []
    effort = options.pop("effort", Effort())
    try:
        with HelperPool(work, control or Unattended(), effort=effort, size=size, **options) as pool:
            try:
                pool.run_all(iter(batches), replies.append)
            finally:
                pids += [process.pid for process in pool._processes]
    finally:
        assert not [pid for pid in pids if is_child(pid)]
    return replies


def is_child(pid: int) -> bool:
    """Return whether a process, alive or dead, still waits to be reaped by this one."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"the condition is still false after {WAIT_SECONDS} s")
        time.sleep(0.01)


def test_every_batch_is_done_once_and_counts_arrive() -> None:
    def work(number: int, channel: HelperChannel) -> int:
        channel.count(Counter.LISTED, 1, number)
        return number * 2

    control = Unattended()
    replies = run(work, list(range(500)), control=control)
    assert sorted(replies) == [number * 2 for number in range(500)]
    assert control.counts[Counter.LISTED] == [500, sum(range(500))]


def test_long_messages_both_ways_do_not_block_each_other() -> None:
    def work(text: str, channel: HelperChannel) -> int:
        channel.reply(text)
        return len(text)

    texts = ["x" * 3_000_000, "y" * 5_000_000] * 3
    replies = run(work, texts)
    assert sorted(r for r in replies if isinstance(r, int)) == sorted(map(len, texts))
    assert sorted(r for r in replies if isinstance(r, str)) == sorted(texts)


def test_a_stop_kills_and_reaps_helpers_that_are_busy() -> None:
    def work(_: Message, __: HelperChannel) -> None:
        signal.pause()

    class Stopping(Unattended):
        calls = 0

        def check(self) -> None:
            self.calls += 1
            if self.calls > 5:
                raise Cancelled

    with pytest.raises(Cancelled):
        run(work, [1, 2, 3], control=Stopping())


def raised(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), HelperDied),
        (lambda: raised(MemoryError()), HelperDied),
        (lambda: raised(NoSpace("The volume is full.")), NoSpace),
        (lambda: raised(StorageUnavailable("It fails.", errno=5)), StorageUnavailable),
        (lambda: raised(OSError(errno.ESTALE, "stale")), StorageUnavailable),
        (lambda: raised(OSError(errno.EDQUOT, "full")), QuotaExceeded),
        (lambda: 1 / 0, Defect),
    ],
    ids=["killed", "memory", "full", "storage", "stale", "quota", "defect"],
)
def test_the_failure_of_a_helper_is_reported(
    operation: Callable[[], object], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        run(lambda *_: operation(), list(range(20)))


@pytest.mark.part("unshare")
def test_a_thread_without_memory_is_a_helper_that_died() -> None:
    parent = os.getpid()

    def work(_: Message, __: HelperChannel) -> None:
        assert os.getpid() == parent
        raise MemoryError

    with pytest.raises(HelperDied):
        run(work, [1], size=1, own_fds=[os.open("/", os.O_RDONLY)])


def test_helpers_die_with_their_parent(tmp_path: Path) -> None:
    def work(_: Message, __: HelperChannel) -> None:
        (tmp_path / str(os.getpid())).write_text("")
        signal.pause()

    parent = os.fork()
    if parent == 0:
        try:
            run(work, [1, 2, 3, 4])
        finally:
            os._exit(0)
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    helpers = [psutil.Process(int(path.name)) for path in tmp_path.iterdir()]
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    wait_until(lambda: not any(helper.is_running() for helper in helpers))


def test_helpers_hold_only_what_they_need(tmp_path: Path) -> None:
    secret = os.open(tmp_path / "secret", os.O_CREAT | os.O_RDWR)
    kept = os.open(tmp_path / "kept", os.O_CREAT | os.O_RDWR)

    def work(_: Message, __: HelperChannel) -> list[str]:
        return [target for fd, target in open_files().items() if fd > 2]

    (targets,) = run(work, [1], keep_fds=[kept])
    os.close(secret)
    os.close(kept)
    files = [target for target in targets if not target.startswith("socket:")]
    assert files == [str(tmp_path / "kept")]
    assert len(targets) == 2


def test_a_helper_gets_the_nice_value_and_its_parent_does_not() -> None:
    (nice,) = run(lambda *_: os.nice(0), [1], effort=Effort(nice=7, idle_io=True))
    assert nice == min(19, os.nice(0) + 7)


def test_a_throttle_holds_for_all_helpers_together_and_follows_changes() -> None:
    throttle = Throttle(operations_per_second=100)

    def work(_: Message, channel: HelperChannel) -> float:
        for _ in range(10):
            channel.count(Counter.COPIED, 1)
        return time.monotonic()

    began = time.monotonic()
    ends = run(work, list(range(6)), effort=Effort(throttle=throttle))
    # 60 operations at 100 a second cannot end sooner, however fast the machine is.
    assert max(ends) - began >= 60 / 100 - 2 * 0.1
    throttle.set()
    run(work, list(range(6)), effort=Effort(throttle=throttle))
    assert throttle.limits == (0, 0)
    throttle.close()


def test_what_is_not_paid_costs_the_new_price() -> None:
    """Work at a low limit does not delay what comes after the limit was raised."""
    throttle, stop = Throttle(operations_per_second=1), bytearray(1)
    stop[0] = 1
    throttle.pace(1_000_000, 0, stop)  # 11 days at that limit
    stop[0] = 0
    throttle.set(operations_per_second=1_000_000_000)
    after = threading.Thread(target=throttle.pace, args=(1, 0, stop), daemon=True)
    after.start()
    after.join(60)
    assert not after.is_alive()
    throttle.close()
