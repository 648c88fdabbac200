"""Commands with a deadline: what they print, and that nothing of them stays or holds the caller."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from contract.waiting import eventually
from core.process import command, run_command

#: A command that lives long, and a child of it, whose numbers it writes; the child holds the pipes.
LONG = 'sleep 3600 & echo "$$ $!" > numbers.new && mv numbers.new numbers; wait'


@pytest.fixture
def numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file in which a command writes the numbers of its processes; those still there end."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "numbers"
    for number in (tmp_path / "numbers").read_text().split():
        if lives(number):
            os.kill(int(number), signal.SIGKILL)


def lives(number: str) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def interrupted_at(numbers: Path) -> Callable[[], None]:
    """What raises as soon as a command has written its numbers, however late it begins."""

    def look() -> None:
        if numbers.exists():
            raise InterruptedError

    return look


def shell(script: str, seconds: float | None, **how: object) -> "subprocess.CompletedProcess[str]":
    return run_command(["sh", "-c", script], seconds, **how)  # type: ignore[arg-type] # as they come


def test_status_and_outputs_are_returned() -> None:
    done = shell(r"printf 'a\377'; echo b >&2; exit 3", 60)
    assert (done.returncode, done.stdout, done.stderr) == (3, "a\N{REPLACEMENT CHARACTER}", "b\n")


def test_a_command_gets_no_input_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VFOLDER_SECRET", "s")
    done = shell('cat; echo "$VFOLDER_SECRET $LC_ALL"; command -v sh', 60)
    assert done.stdout.splitlines()[0] == " C"
    assert shell('echo "$VFOLDER_SECRET"', 60, env=None).stdout == "s\n"


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError):
        run_command(["no-such-program-of-any-site"], 60)


@pytest.mark.parametrize("grace", [0.0, 0.2])
@pytest.mark.parametrize("deaf", ["", "trap '' TERM; "], ids=["", "deaf to SIGTERM"])
def test_a_command_that_hangs_ends_with_its_children(
    numbers: Path, grace: float, deaf: str
) -> None:
    with pytest.raises(InterruptedError):
        shell(deaf + LONG, None, look=interrupted_at(numbers), grace_seconds=grace)
    eventually(lambda: not any(map(lives, numbers.read_text().split())))


def test_a_child_that_left_the_group_does_not_hold_the_caller(
    numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a command that hangs in the kernel, it outlives the signal and has the pipes open."""
    monkeypatch.setattr(command, "KILLED_SECONDS", 0.2)
    away = 'echo "$$" > numbers.new && mv numbers.new numbers; exec sleep 3600'
    with pytest.raises(InterruptedError):
        shell(f"setsid sh -c '{away}' & wait", None, look=interrupted_at(numbers))
    (left,) = numbers.read_text().split()
    assert lives(left)


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_command_of_another_user_does_not_hold_the_caller(
    numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As sudo(8) in a service without rights: it cannot be signalled."""

    def refused(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(command, "KILLED_SECONDS", 0.2)
    monkeypatch.setattr(os, "killpg", refused)
    with pytest.raises(InterruptedError):
        shell(LONG, None, look=interrupted_at(numbers))
    assert all(map(lives, numbers.read_text().split()))


def test_the_end_holds_for_a_command_that_is_looked_at_too() -> None:
    seen: list[int] = []
    for how in ({}, {"look": lambda: seen.append(1)}):
        with pytest.raises(subprocess.TimeoutExpired):
            shell("exec sleep 3600", 0.2, **how)
        assert "sleep" not in {child.name() for child in psutil.Process().children()}
    assert seen
    assert shell("exit 4", 60, look=lambda: seen.append(1)).returncode == 4
