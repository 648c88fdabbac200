"""State, exit status and sentence of each verb say the same: nothing done is never `succeeded`."""

import json
import re
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from api.cli.output import EXIT_CODES
from backends.fs import layout
from core.jobs import Job
from core.jobs.requests import VERBS
from core.names import VFolderId
from tests.support.ends import checked_end
from tests.workers.ends.conftest import VOLUME, Bench

OK, FAILED, PARTIAL = 0, 1, 3
Work = Callable[[Bench], Job]


def emptied(bench: Bench) -> VFolderId:
    vfolder = bench.absent()
    bench.path(vfolder).mkdir(parents=True)
    return vfolder


def clone(bench: Bench, source: VFolderId) -> Job:
    return bench.done("clone", source=str(source), target=str(bench.absent()))


def transfer(bench: Bench, target: VFolderId, **more: Any) -> Job:
    source = bench.folder()
    fields = {"target": str(target), "target_volume": VOLUME, **more}
    return bench.done("transfer", source=str(source), **fields)


def empty(bench: Bench) -> Job:
    words = {"source": str(emptied(bench)), "target": str(bench.absent())}
    return bench.done("transfer", **words, target_volume=VOLUME)


def again(bench: Bench) -> Job:
    source, target = bench.folder(), bench.absent()
    words = {"source": str(source), "target": str(target), "target_volume": VOLUME}
    bench.done("transfer", **words)
    return bench.done("transfer", **words, on_conflict="newer")


def kept_file(bench: Bench) -> Job:
    target = bench.folder()
    (bench.path(target) / "a").write_bytes(b"another")
    return transfer(bench, target, source_path="a", target_path="a", on_conflict="skip")


def extract(bench: Bench, *, names: list[str]) -> Job:
    vfolder = bench.folder()
    top = bench.path(vfolder)
    with tarfile.open(top / "x.tar", "w") as packed:
        for name in names:
            packed.add(top / name, name)
    words = {"vfolder": str(vfolder), "source": "x.tar", "archive": "tar"}
    return bench.done("extract", **words, target="out")


def delete_files(bench: Bench, *paths: str, recursive: bool = False) -> Job:
    words = {"vfolder": str(bench.folder()), "paths": list(paths)}
    return bench.done("delete-files", **words, recursive=recursive)


def purge(bench: Bench, *, twice: bool = False) -> Job:
    vfolder = bench.folder()
    deleted = bench.done("delete", vfolder=str(vfolder), keep_seconds=3600)
    words = {"vfolder": str(vfolder), "trash": deleted.id}
    first = bench.done("purge", **words)
    return bench.done("purge", **words) if twice else first


def restore(bench: Bench, *, kept: bool) -> Job:
    vfolder = bench.folder()
    bench.done("delete", vfolder=str(vfolder), keep_seconds=3600 if kept else 0)
    return bench.done("restore", vfolder=str(vfolder))


TIME = r" in \d+\.\d s"
RATE = rf"{TIME} \(.+/s\)"
#: The work, its exit status, its sentence as a pattern, and the entries of the progress.
CASES: dict[str, tuple[Work, int, str, int | None]] = {
    "clone": (lambda b: clone(b, b.folder()), OK, rf"cloned 3 files, 2\.9 KiB{RATE}", 5),
    "clone of nothing": (lambda b: clone(b, emptied(b)), OK, rf"cloned .*{TIME}", None),
    "clone of an absent one": (lambda b: clone(b, b.absent()), FAILED, ".*", None),
    "transfer": (lambda b: transfer(b, b.absent()), OK, rf"transferred 3 files, .*{RATE}", 5),
    "transfer of an empty one": (
        empty,
        OK,
        "transferred an empty directory",
        0,
    ),
    "transfer again": (again, OK, "transferred nothing; 3 were the same", 0),
    "transfer that keeps": (kept_file, PARTIAL, "transferred nothing: .* stays.*", 0),
    "transfer that matches nothing": (
        lambda b: transfer(b, b.folder(), filters=["- *"]),
        PARTIAL,
        "transferred nothing; no entry of the source matches",
        0,
    ),
    "delete": (
        lambda b: b.done("delete", vfolder=str(b.folder())),
        OK,
        rf"deleted user:\S+: \d entries{TIME}",
        None,
    ),
    "delete into the trash": (
        lambda b: b.done("delete", vfolder=str(b.folder()), keep_seconds=60),
        OK,
        rf"deleted user:\S+{TIME}; kept in the trash until \S+Z",
        5,
    ),
    "delete of an absent one": (
        lambda b: b.done("delete", vfolder=str(b.absent())),
        PARTIAL,
        r"deleted nothing: \S+ was not there",
        0,
    ),
    "delete-files": (lambda b: delete_files(b, "a"), OK, f"deleted 1 entry{TIME}", 1),
    "delete-files, one absent": (
        lambda b: delete_files(b, "a", "none"),
        OK,
        f"deleted 1 entry{TIME}; 1 entry not there",
        1,
    ),
    "delete-files, all absent": (
        lambda b: delete_files(b, "none", "sub/none", "none/none"),
        PARTIAL,
        f"deleted nothing{TIME}; 3 entries not there",
        0,
    ),
    "delete-files, a directory": (
        lambda b: delete_files(b, "a", "sub"),
        PARTIAL,
        f"deleted 1 entry{TIME}; 1 directory left: `recursive` is not set",
        1,
    ),
    "delete-files, recursive": (
        lambda b: delete_files(b, "sub", recursive=True),
        OK,
        f"deleted 1 entry{TIME}",
        None,
    ),
    "purge": (purge, OK, rf"purged user:\S+: \d entries{TIME}", None),
    "purge again": (
        lambda b: purge(b, twice=True),
        PARTIAL,
        r"deleted nothing: \S+ was not there",
        0,
    ),
    "restore": (lambda b: restore(b, kept=True), OK, rf"restored user:\S+, 2\.9 KiB{TIME}", 1),
    "restore of nothing": (lambda b: restore(b, kept=False), FAILED, ".*", None),
    "extract": (
        lambda b: extract(b, names=["a", "sub"]),
        OK,
        rf"unpacked 3 files, 2\.9 KiB{RATE}",
        5,
    ),
    "extract of nothing": (lambda b: extract(b, names=[]), OK, rf"unpacked .*{TIME}", None),
    "usage": (
        lambda b: b.done("usage", vfolder=str(b.folder())),
        OK,
        rf"counted 5 entries, 2\.9 KiB{RATE}",
        5,
    ),
    "find": (
        lambda b: b.done("find", vfolder=str(b.folder()), match="b"),
        OK,
        rf"found 1 entry{TIME}",
        None,
    ),
    "usage of an absent one": (
        lambda b: b.done("usage", vfolder=str(b.absent())),
        FAILED,
        ".*",
        None,
    ),
    "rescan": (
        lambda b: b.done("rescan", owner=str(b.scope)),
        OK,
        rf"rescanned \d quota scope.*{TIME}",
        None,
    ),
    "snapshot where none is kept": (
        lambda b: b.done("snapshot", vfolder=str(b.folder()), action="list"),
        FAILED,
        ".*",
        None,
    ),
}


#: They need a btrfs, a hub, or a second node; `assist` helps another job and has no caller.
ELSEWHERE = {"adopt", "import", "describe", "assist"}


def sentence_of(job: Job) -> str:
    result, error = job.member("result"), job.member("error")
    return str(result["sentence"] if result else error["detail"])


@pytest.mark.parametrize("case", CASES)
def test_state_exit_status_and_sentence_agree(bench: Bench, case: str) -> None:
    work, status, pattern, entries = CASES[case]
    bench.folder()  # so that the scope exists
    job = work(bench)
    said = sentence_of(job)
    assert EXIT_CODES[job.state.value] == status, job.document()
    assert re.fullmatch(pattern, said), said
    if status != OK:
        return
    progress = checked_end(job.document())["progress"]
    assert progress["done_items"] == progress["total_items"]
    assert progress["done_bytes"] == progress["total_bytes"]
    assert entries is None or progress["done_items"] == entries


def test_every_verb_is_compared() -> None:
    """The sites of the others check each end of theirs in the same way (`checked_end`)."""
    here = {re.split("[ ,]", case)[0] for case in CASES}
    assert here | ELSEWHERE == set(VERBS)


def test_a_directory_that_stays_is_in_the_report(bench: Bench) -> None:
    job = delete_files(bench, "a", "sub", "none")
    text = (bench.top / layout.report(bench.scope, job.id)).read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["path"]: line["reason"] for line in lines} == {
        "sub": "it is a directory, and `recursive` is not set"
    }
    assert job.member("result") == {
        "named": 3,
        "skipped": 2,
        "failed": 0,
        "sentence": sentence_of(job),
    }
