"""Every way in which XCP ends, and what is made of it; against the stand-in."""

import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from backends.transfer.xcp import IndexLost, Summary, Xcp, XcpKilled
from backends.transfer.xcp.reading import tally
from core.errors import BackendFailed, NoSpace, QuotaExceeded
from core.jobs import Cancelled, Counter, Unattended
from tests.backends.transfer.xcp.conftest import StandIn
from tests.support.node import gone, wait_for
from tests.support.trees import snapshot

PATHS = ("nas:/source", "nas:/target")


class Stopping(Unattended):
    """A control that cancels once something was copied."""

    def check(self) -> None:
        if self.counts.get(Counter.COPIED, [0])[0]:
            raise Cancelled("enough")


@pytest.mark.parametrize("profile", ["old", "new"])
@pytest.mark.parametrize("rc_mode", ["honest", "always0"])
def test_a_copy_that_passes(standin: StandIn, profile: str, rc_mode: str) -> None:
    standin.state(profile=profile, rc_mode=rc_mode)
    standin.fill()
    control = Unattended()
    done = standin.xcp().copy(*PATHS, "one", control)
    assert (done.status, done.errors, done.counts["copied"]) == ("PASSED", 0, 40)
    assert control.counts[Counter.COPIED][0] == 40
    assert snapshot(standin.directory / "source") == snapshot(standin.directory / "target")
    assert standin.indexes() == ["one"]
    assert standin.xcp().forget("one")
    assert standin.indexes() == []
    (copy, delete) = standin.calls()
    assert copy["argv"] == ["copy", "-newid", "one", *PATHS]
    assert "-force" in delete["argv"], "without it XCP waits for an answer"
    assert copy["lc_all"] == "C"
    assert not copy["tty"]


def test_the_license(standin: StandIn) -> None:
    found = standin.xcp().license()
    assert (found.kind, found.status) == ("SANDBOX", "ACTIVE")
    assert found.until == "Sun Mar 31 00:00:00 2199"


@pytest.mark.parametrize(
    ("license_state", "words"),
    [
        ("missing", "xcp activate"),
        ("inactive", "xcp activate"),
        ("expired", "xcp license update"),
        ("unreadable", "fetch it again"),
    ],
)
@pytest.mark.parametrize("rc_mode", ["honest", "always0"])
def test_no_license(standin: StandIn, license_state: str, words: str, rc_mode: str) -> None:
    standin.state(license=license_state, rc_mode=rc_mode)
    with pytest.raises(BackendFailed, match=words):
        standin.xcp().license()
    with pytest.raises(BackendFailed, match=words):
        standin.xcp().copy(*PATHS, "one", Unattended())


def test_no_tool(tmp_path: Path) -> None:
    with pytest.raises(BackendFailed, match="netapp_xcp_cmd"):
        Xcp([str(tmp_path / "xcp")]).license()


def test_not_root(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_EUID", "1000")
    with pytest.raises(BackendFailed, match="run as root"):
        standin.xcp().license()


@pytest.mark.parametrize("rc_mode", ["honest", "always0"])
@pytest.mark.parametrize(
    ("state", "faults", "refusal"),
    [
        ({"catalog": None}, {}, (BackendFailed, "catalog")),
        ({}, {"gone": 7}, (BackendFailed, "catalog")),
        ({"exports": {"nas:/catalog": "/"}}, {}, (BackendFailed, "export policy")),
        ({}, {"full_after": 7}, (NoSpace, "full")),
        ({}, {"full_after": 7, "nfs_error": 69}, (QuotaExceeded, "quota scope")),
        ({}, {"sigkill_after": 7}, (XcpKilled, "killed")),
        ({}, {"child_killed_after": 7}, (XcpKilled, "memory")),
        ({}, {"rc": 3}, (BackendFailed, "failed")),
        ({}, {"rc": 0, "status": "FAILED"}, (BackendFailed, "failed")),
        ({}, {"rc": 0, "status": ""}, (BackendFailed, "without saying")),
    ],
)
def test_what_is_not_believed(
    standin: StandIn,
    rc_mode: str,
    state: dict[str, Any],
    faults: dict[str, Any],
    refusal: tuple[type[Exception], str],
) -> None:
    kind, words = refusal
    standin.state(rc_mode=rc_mode, **state)
    standin.faults(**faults)
    standin.fill()
    with pytest.raises(kind, match=words) as found:
        standin.xcp().copy(*PATHS, "one", Unattended())
    assert type(found.value) is kind
    assert str(standin.directory) not in str(found.value)
    assert "nas:" not in str(found.value), "whose names these are is nobody's business"


@pytest.mark.parametrize("profile", ["old", "new"])
@pytest.mark.parametrize("rc_mode", ["honest", "always0"])
def test_entries_that_fail_are_counted(standin: StandIn, profile: str, rc_mode: str) -> None:
    standin.state(profile=profile, rc_mode=rc_mode)
    standin.faults(errors=["f3", "f4"], status="PASSED" if rc_mode == "always0" else "FAILED")
    standin.fill()
    done = standin.xcp().copy(*PATHS, "one", Unattended())
    assert done.errors == 2
    assert done.counts["copied"] == 38


def test_killed_it_goes_on_by_its_index(standin: StandIn) -> None:
    standin.fill()
    standin.faults(sigkill_after=20, times=1)
    with pytest.raises(XcpKilled):
        standin.xcp().copy(*PATHS, "one", Unattended())
    assert 0 < len(list((standin.directory / "target").rglob("f*"))) < 40
    done = standin.xcp().resume("one", Unattended())
    assert done.errors == 0
    assert snapshot(standin.directory / "source") == snapshot(standin.directory / "target")
    with pytest.raises(IndexLost):
        standin.xcp().resume("unknown", Unattended())


def test_a_verification_tells_what_differs(standin: StandIn) -> None:
    standin.fill()
    xcp = standin.xcp()
    xcp.copy(*PATHS, "one", Unattended())
    assert xcp.verify(*PATHS, "check", Unattended()).different == 0
    (standin.directory / "target/d0/f3").write_text("other")
    assert xcp.verify(*PATHS, "check", Unattended()).different == 1


def test_sync_and_scan(standin: StandIn) -> None:
    standin.fill()
    xcp = standin.xcp()
    xcp.copy(*PATHS, "one", Unattended())
    (standin.directory / "source/d0/new").write_text("new")
    assert xcp.sync("one", Unattended()).counts["copied"] == 1
    assert xcp.scan("nas:/source", Unattended()).counts["scanned"] == 45
    assert "-noId" in standin.calls()[-1]["argv"], "a scan leaves nothing in the catalog"


@pytest.mark.parametrize("ignores", [False, True])
def test_cancelled_nobody_is_left(standin: StandIn, *, ignores: bool) -> None:
    standin.fill()
    standin.faults(hang=300, ignore_sigterm=ignores, fork_child=True)
    reader, writer = os.pipe()
    with pytest.raises(Cancelled):
        standin.xcp(keep_fds=[writer]).copy(*PATHS, "one", Stopping())
    (call,) = standin.calls()
    assert writer in call["fds"], "the fence is held as long as anybody is at work"
    assert gone([call["pid"]])
    os.close(writer)
    assert os.read(reader, 1) == b"", "a grandchild lives and holds the fence"
    os.close(reader)


def test_it_does_not_outlive_its_parent(standin: StandIn) -> None:
    standin.fill()
    standin.faults(hang=300)
    pid = os.fork()
    if pid == 0:
        standin.xcp().copy(*PATHS, "one", Unattended())
        os._exit(0)
    calls = wait_for(lambda: (standin.directory / "calls.jsonl").exists() and standin.calls())
    wait_for(lambda: psutil.pid_exists(calls[0]["pid"]))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_for(lambda: gone([calls[0]["pid"]]))


@pytest.mark.parametrize(
    "faults",
    [{"huge_output": 2}, {"garbage": True}, {"crlf": True}, {"fork_child": True}],
    ids=lambda faults: next(iter(faults)),
)
def test_odd_outputs(standin: StandIn, faults: dict[str, Any]) -> None:
    standin.fill()
    standin.faults(**faults)
    assert standin.xcp().copy(*PATHS, "one", Unattended()).errors == 0


def test_odd_names(standin: StandIn) -> None:
    source = standin.directory / "source"
    for name in (b"new\nline", b"-rf", b"a'b\"c", b"100% scanned", b"\xff", b"STATUS : FAILED"):
        (source / os.fsdecode(name)).write_text("x")
    (source / "co:lon").mkdir()
    assert standin.xcp().copy(*PATHS, "one", Unattended()).errors == 0
    assert snapshot(source) == snapshot(standin.directory / "target")
    assert standin.xcp().scan("nas:/source/co::lon", Unattended()).counts["scanned"] == 1


def test_a_container_has_a_name_and_is_killed_by_it(standin: StandIn, tmp_path: Path) -> None:
    engine = tmp_path / "docker"
    log = tmp_path / "engine"
    engine.write_text(
        f'#!/bin/sh\necho "$@" >> {log}\n[ "$1" = run ] || exit 0\n'
        f'shift 4\nexec {standin.command[0]} "$@"\n'
    )
    engine.chmod(0o755)
    standin.fill()
    standin.faults(hang=300)
    with pytest.raises(Cancelled):
        Xcp([str(engine), "run", "image"]).copy(*PATHS, "one", Stopping())
    ran, killed = log.read_text().splitlines()
    assert ran.startswith("run --name vfolder-xcp-one image copy")
    assert killed == "kill vfolder-xcp-one"


def test_a_wrong_option_is_not_overlooked(standin: StandIn) -> None:
    done = subprocess.run(
        [*standin.command, "copy", "-newidd", "x", *PATHS], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"usage" in done.stderr


@pytest.mark.parametrize(
    ("line", "counts", "out"),
    [
        (
            " 1.01M scanned, 999,771 removes, 1,925 rmdirs, 324 MiB in (1.42 MiB/s), 153 MiB out",
            {"scanned": 1_010_000, "removes": 999_771, "rmdirs": 1925},
            153 * 2**20,
        ),
        ("18 scanned, 0 matched, 17 copied, 0 error", {"scanned": 18, "copied": 17}, None),
        ("Stats : 18 scanned, 17 copied, 18 indexed", {"scanned": 18, "indexed": 18}, None),
        ("Xcp command : xcp copy a b", None, None),
        ("Job ID : Job_2026_copy", None, None),
    ],
)
def test_lines_are_read(line: str, counts: dict[str, int] | None, out: int | None) -> None:
    found = tally(line)
    if counts is None:
        assert found is None
        return
    assert found is not None
    assert counts.items() <= found.counts.items()
    assert found.out_bytes == out


def test_the_speed_of_the_end_is_read() -> None:
    summary = Summary()
    summary.read("Speed : 38.9 KiB in (51.2 KiB/s), 81.2 KiB out (107KiB/s)")
    assert summary.out_bytes == round(81.2 * 1024)


def test_calls_from_two_threads_do_not_meet(standin: StandIn) -> None:
    standin.fill()
    done = []
    xcp = standin.xcp()
    threads = [
        threading.Thread(target=lambda: done.append(xcp.scan("nas:/source", Unattended())))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [summary.counts["scanned"] for summary in done] == [44, 44]
