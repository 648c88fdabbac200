"""The audit log: every process adds to one chain, and one changed byte breaks it."""

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import redis

from core.access import Caller, CredentialFacts, Scope, Subject
from core.access.audit import STREAM_KEY, AuditEntry, AuditLog, entry_of, files, verify
from core.errors import AccessUnavailable
from core.settings import AccessTable
from tests.support.node import ROOT
from tests.support.valkey import Valkey

DAY = 86_400.0
NOW = 1_800_000_000.0
TABLE = AccessTable(audit_keep_days=3, audit_recent=1000)
CALLER = Caller(
    subject=Subject(kind="manager"),
    credential=CredentialFacts(kind="secret", id="manager", scopes=frozenset(Scope)),
    address="192.0.2.7",
    request_id="r-1",
)


def change(number: int) -> AuditEntry:
    return entry_of(CALLER, "grants.set", "allowed", before=None, after={"number": number})


def lines(directory: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in files(directory / "audit")
        for line in path.read_text().splitlines()
    ]


def test_a_line_says_who_did_what(tmp_path: Path) -> None:
    AuditLog(tmp_path, TABLE, clock=lambda: NOW).write(change(1))
    (line,) = lines(tmp_path)
    assert line == {
        "at": "2027-01-15T08:00:00.000Z",
        "act": "grants.set",
        "decision": "allowed",
        "request_id": "r-1",
        "subject": "manager",
        "credential": "secret:manager",
        "from": "192.0.2.7",
        "after": {"number": 1},
        "prev": "",
    }
    (path,) = files(tmp_path / "audit")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_chain_goes_on_over_days_and_old_files_go(tmp_path: Path) -> None:
    now = [NOW]
    log = AuditLog(tmp_path, TABLE, clock=lambda: now[0])
    for day in range(6):
        now[0] = NOW + day * DAY
        log.write(change(day))
        log.note(change(day))
    assert [path.stem for path in files(tmp_path / "audit")] == [
        *("2027-01-17", "2027-01-18", "2027-01-19", "2027-01-20")
    ]
    assert verify(tmp_path / "audit") == (8, [])


def test_lines_of_a_moment_are_one_write_of_the_chain(tmp_path: Path, valkey: Valkey) -> None:
    """Openings are many; each lock, write and call to the store is for all of a moment."""
    with valkey.client() as client:
        client.flushdb()
        log = AuditLog(tmp_path, TABLE, client, clock=lambda: NOW)
        other = AuditLog(tmp_path, TABLE, clock=lambda: NOW)
        log.write(change(0))
        log.note(*map(change, range(1, 40)))
        other.write(change(40))
        log.note(change(41))
        log.note()
        recent = [line["after"]["number"] for _, line in log.recent(100)]
    assert [line["after"]["number"] for line in lines(tmp_path)] == list(range(42))
    assert verify(tmp_path / "audit") == (42, [])
    assert recent == [41, *range(39, -1, -1)]


def test_each_changed_byte_breaks_the_chain(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, TABLE, clock=lambda: NOW)
    for number in range(3):
        log.write(change(number))
    (path,) = files(tmp_path / "audit")
    text = path.read_bytes()
    length = len(text.splitlines(keepends=True)[0])
    for place in range(2 * length):  # the last line has none after it
        path.write_bytes(text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :])
        assert verify(tmp_path / "audit")[1], place
    parts = text.splitlines(keepends=True)
    for wrong in ([parts[0], parts[2]], [parts[1], parts[0], parts[2]], [*parts, parts[1]]):
        path.write_bytes(b"".join(wrong))
        assert verify(tmp_path / "audit")[1]


def test_processes_and_threads_add_to_one_chain(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from core.access.audit import AuditEntry, AuditLog
from core.settings import AccessTable
log = AuditLog(Path(sys.argv[1]), AccessTable())
for number in range(50):
    log.write(AuditEntry(act=sys.argv[2], decision="allowed"))
"""
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name], cwd=ROOT)
        for name in ("one", "two")
    ]
    log = AuditLog(tmp_path, TABLE)
    threads = [
        threading.Thread(target=lambda: [log.write(change(n)) for n in range(25)]) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.wait(120) for run in runs] == [0, 0]
    assert verify(tmp_path / "audit") == (150, [])


def test_a_line_that_a_crash_cut_is_named_and_the_chain_goes_on(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, TABLE, clock=lambda: NOW)
    log.write(change(1))
    (path,) = files(tmp_path / "audit")
    with path.open("ab") as file:
        file.write(b'{"at":"2027-')
    log.write(change(2))
    count, broken = verify(tmp_path / "audit")
    assert count == 3
    assert [(one.line, "crash" in one.text) for one in broken] == [(2, True)]


def test_what_cannot_be_logged_is_not_done(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("no directory")
    lost: list[int] = []
    log = AuditLog(tmp_path, TABLE, on_lost=lambda: lost.append(1))
    with pytest.raises(AccessUnavailable):
        log.write(change(1))
    assert not lost
    log.note(change(1))
    assert lost == [1]


def test_a_full_disk_leaves_no_part_of_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(tmp_path, TABLE, clock=lambda: NOW)
    log.write(change(1))
    write, calls = os.write, []

    def full(descriptor: int, data: bytes) -> int:
        if not os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(tmp_path)):
            return write(descriptor, data)  # of the test run itself
        calls.append(1)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:10])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(AccessUnavailable):
        log.write(change(2))
    monkeypatch.undo()
    log.write(change(3))
    assert [line["after"]["number"] for line in lines(tmp_path)] == [1, 3]
    assert verify(tmp_path / "audit") == (2, [])


def test_a_long_line_loses_its_values(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, TABLE)
    log.write(entry_of(CALLER, "grants.set", "allowed", before="x" * 70_000))
    log.write(change(1))
    assert lines(tmp_path)[0]["after"] == "too long"
    assert verify(tmp_path / "audit") == (2, [])


def test_the_newest_lines_are_in_the_store(tmp_path: Path, valkey: Valkey) -> None:
    client = redis.Redis.from_url(f"{valkey.url}/0", decode_responses=True)
    client.delete(STREAM_KEY)
    log = AuditLog(tmp_path, TABLE, client)
    for number in range(5):
        log.write(change(number))
    page = log.recent(2)
    assert [entry["after"]["number"] for _, entry in page] == [4, 3]
    rest = log.recent(9, before=page[-1][0])
    assert [entry["after"]["number"] for _, entry in rest] == [2, 1, 0]
    assert [entry for _, entry in [*page, *rest]][::-1] == lines(tmp_path)
    away = AuditLog(tmp_path, TABLE, redis.Redis(port=1))
    away.write(change(9))
    assert lines(tmp_path)[-1]["after"] == {"number": 9}
