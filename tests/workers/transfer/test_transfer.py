"""The verb `transfer` over HTTP: what arrives, what stays, what is refused."""

import os
import subprocess
from pathlib import Path

import pytest

from contract.trees import hostile
from tests.support.node import wait_for
from tests.workers.transfer.check import differences
from tests.workers.transfer.conftest import Pair, absent


def looks(path: Path) -> dict[str, tuple[int, ...]]:
    """What tells whether anything happened to the entries of a directory, and to itself."""
    found = {}
    for name in [".", *os.listdir(path)]:
        status = (path / name).stat()
        found[name] = (status.st_ino, status.st_mode, status.st_mtime_ns, status.st_ctime_ns)
    return found


def fill(path: Path, **files: str) -> None:
    for name, text in files.items():
        (path / name).write_text(text)


@pytest.mark.part("rsync")
@pytest.mark.parametrize("there", [False, True])
def test_everything_arrives(pair: Pair, *, there: bool) -> None:
    source, path = pair.folder()
    hostile(path)
    for special in ("fifo", "socket"):
        (path / special).unlink()
    os.utime(path, ns=(10**18, 10**18 + 123))
    target = pair.folder("other")[0] if there else absent()
    done = pair.done(source=source, target=target, verify="checksum")
    assert differences(path, pair.path(target)) == ""
    assert done["result"]["complete"] is True
    pair.emptied(target, "staging")
    again = pair.done(source=source, target=target, on_conflict="replace")
    assert again["result"]["files"] == 0, "what is the same already is not copied again"
    assert again["result"]["same"] > 10
    assert differences(path, pair.path(target)) == ""


def test_a_path_becomes_a_path(pair: Pair) -> None:
    source, path = pair.folder()
    (path / "data/deep").mkdir(parents=True)
    fill(path / "data/deep", a="alpha")
    fill(path, outside="no")
    target, there = pair.folder("other")
    fill(there, mine="mine")
    pair.done(source=source, source_path="data", target=target, target_path="x/y")
    assert (there / "x/y/deep/a").read_text() == "alpha"
    assert (there / "mine").read_text() == "mine"
    assert sorted(os.listdir(there)) == ["mine", "x"]
    pair.done(source=source, source_path="data/deep/a", target=target, target_path="x/b")
    assert (there / "x/b").read_text() == "alpha"
    pair.done(source=source, source_path="data/deep/a", target=target)
    assert (there / "a").read_text() == "alpha"
    refused = pair.done("failed", source=source, source_path="data/deep/a", target=target)
    assert refused["error"]["error_code"].endswith("already-exists")
    words = {"source_path": "outside", "target_path": "mine", "on_conflict": "skip"}
    kept = pair.done("partial", source=source, target=target, **words)
    assert kept["result"]["kept"] == 1
    assert (there / "mine").read_text() == "mine"


@pytest.mark.parametrize("on_conflict", ["fail", "skip", "replace", "newer"])
def test_what_is_there_already(pair: Pair, on_conflict: str) -> None:
    source, path = pair.folder()
    target, there = pair.folder("other")
    for side, text in ((path, "new"), (there, "old")):
        fill(side, older=text, newer=text)
    fill(path, absent="new")
    for file, when in (
        (path / "older", 100),
        (there / "older", 50),
        (path / "newer", 100),
        (there / "newer", 200),
    ):
        os.utime(file, (when, when))
    before = looks(there)
    state = "failed" if on_conflict == "fail" else "succeeded"
    done = pair.done(state, source=source, target=target, on_conflict=on_conflict)
    found = {name: (there / name).read_text() for name in os.listdir(there)}
    wanted = {
        "fail": {"older": "old", "newer": "old"},
        "skip": {"older": "old", "newer": "old", "absent": "new"},
        "replace": {"older": "new", "newer": "new", "absent": "new"},
        "newer": {"older": "new", "newer": "old", "absent": "new"},
    }[on_conflict]
    assert found == wanted
    pair.emptied(target, "staging")
    if on_conflict == "fail":
        assert looks(there) == before
        assert done["error"]["data"]["conflicts"] == 2
        assert done["error"]["data"]["examples"] == ["newer", "older"]
    else:
        kept = [line["path"] for line in pair.report(done["id"])]
        assert kept == {"skip": ["newer", "older"], "replace": [], "newer": ["newer"]}[on_conflict]


def test_directories_and_files_in_each_others_way(pair: Pair) -> None:
    source, path = pair.folder()
    target, there = pair.folder("other")
    (path / "a").mkdir()
    fill(path / "a", inner="1")
    fill(path, b="file", c="c")
    fill(there, a="file")
    (there / "b/deep").mkdir(parents=True)
    request = {"source": source, "target": target, "on_conflict": "replace"}
    failed = pair.done("failed", **request)
    assert failed["error"]["data"]["conflicts"] == 2
    assert sorted(os.listdir(there)) == ["a", "b"]
    partial = pair.done("partial", **request, on_error="skip")
    assert partial["result"]["not_kept"]["conflict"]["count"] == 2
    assert (there / "c").read_text() == "c"
    assert (there / "a").read_text() == "file"
    assert [line["path"] for line in pair.report(partial["id"])] == ["a", "b"]
    pair.done(**request, delete_extra=True)
    assert (there / "a/inner").read_text() == "1"
    assert (there / "b").read_text() == "file"


@pytest.mark.part("rsync")
def test_filters_take_what_rsync_takes(pair: Pair, tmp_path: Path) -> None:
    source, path = pair.folder()
    for directory in ("src/sub", "out", "keep/out", "none"):
        (path / directory).mkdir(parents=True)
        fill(path / directory, **{"a.py": "p", "b.o": "o", "[c].py": "c"})
    target, rules = absent(), ["+ /keep/out/", "- out/", "- [[]c*", "+ */", "+ *.py", "- *"]
    pair.done(source=source, target=target, filters=rules)
    command = ["rsync", "-a", *(f"--filter={rule}" for rule in rules), f"{path}/", f"{tmp_path}/"]
    subprocess.run(command, check=True)
    assert differences(tmp_path, pair.path(target)) == ""
    assert (pair.path(target) / "keep/out/a.py").exists()


def test_bounds(pair: Pair) -> None:
    source, path = pair.folder()
    fill(path, small="s", old="o" * 10, right="r" * 10, big="b" * 100)
    os.utime(path / "old", (10, 10))
    target = absent()
    asked = {"min_bytes": 2, "max_bytes": 99, "newer_than": "2000-01-01T00:00:00Z"}
    pair.done(source=source, target=target, **asked, older_than="2999-01-01T00:00:00+01:00")
    assert os.listdir(pair.path(target)) == ["right"]


def test_extra_entries_go_and_protected_ones_stay(pair: Pair) -> None:
    source, path = pair.folder()
    target, there = pair.folder("other")
    fill(path, a="1")
    (there / "gone/deep").mkdir(parents=True)
    (there / "half").mkdir()
    fill(there / "half", **{"x.o": "protected", "y": "extra"})
    fill(there / "gone/deep", z="extra")
    fill(there, **{"top.o": "protected", "extra": "extra"})
    done = pair.done(source=source, target=target, filters=["- *.o"], delete_extra=True)
    found = {str(p.relative_to(there)) for p in there.rglob("*")}
    assert found == {"a", "half", "half/x.o", "top.o"}
    assert done["result"]["extra"] == 3
    pair.done(source=source, target=target, delete_extra=True)
    assert os.listdir(there) == ["a"]
    pair.emptied(target, "staging")


def test_a_limit_follows_while_it_runs(pair: Pair) -> None:
    source, path = pair.folder()
    for number in range(64):
        (path / f"f{number}").write_bytes(b"x" * 100_000)
    target = absent()
    job = pair.begun(source=source, target=target, bytes_per_second=20_000)
    assert pair.get(job)["bytes_per_second"] == 20_000
    wait_for(lambda: (pair.get(job)["progress"] or {}).get("phase") == "copy")
    assert not pair.path(target).exists()
    assert (
        pair.door.call("PUT", f"/v1/jobs/{job}/bandwidth", {"bytes_per_second": None}).status_code
        == 202
    )
    assert pair.ended(job)["state"] == "succeeded"
    assert len(os.listdir(pair.path(target))) == 64
    late = pair.door.call("PUT", f"/v1/jobs/{job}/bandwidth", {"bytes_per_second": 1})
    assert late.status_code == 409


def test_cancelled_it_leaves_the_target_as_it_was(pair: Pair) -> None:
    source, path = pair.folder()
    target, there = pair.folder("other")
    fill(path, **{f"f{number}": "x" * 50_000 for number in range(20)})
    fill(there, f1="mine", other="mine")
    before = looks(there)
    job = pair.begun(
        source=source,
        target=target,
        on_conflict="replace",
        delete_extra=True,
        bytes_per_second=20_000,
    )
    wait_for(lambda: (pair.get(job)["progress"] or {}).get("done_bytes"))
    pair.door.call("POST", f"/v1/jobs/{job}/cancel")
    assert pair.ended(job)["state"] == "cancelled"
    assert looks(there) == before
    pair.emptied(target, "staging")
    pair.emptied(target, "jobs")


def test_a_plan_tells_and_does_nothing(pair: Pair) -> None:
    source, path = pair.folder()
    target, there = pair.folder("other")
    (path / "below").mkdir()
    fill(path, a="new", same="s", **{"x.o": "left out"})
    fill(path / "below", b="12345")
    fill(there, a="mine", same="s", extra="e")
    for side in (path, there):
        os.utime(side / "same", (10, 10))
    before = looks(there)
    asked = {"source": source, "target": target, "filters": ["- *.o"], "plan": True}
    plan = pair.submit(**asked, on_conflict="replace", delete_extra=True).json()
    assert plan["would_start"] is True
    assert plan["method"] == "stream"
    seen = plan["foreseen"]
    assert (seen["complete"], seen["entries"], seen["size_bytes"]) == (True, 3, 8)
    assert seen["noted"] == {"same": 1, "extra": 1}
    assert seen["examples"]["extra"] == ["extra"]
    refused = pair.submit(**asked).json()
    assert refused["would_start"] is False
    assert refused["foreseen"]["examples"]["conflict"] == ["a"]
    assert looks(there) == before


def test_within_one_vfolder(pair: Pair) -> None:
    vfid, path = pair.folder("other")
    (path / "a").mkdir()
    fill(path / "a", x="1")
    asked = {"volume": "other", "source": vfid, "target": vfid, "source_path": "a"}
    pair.done(**asked, target_path="b")
    assert (path / "b/x").read_text() == "1"
    assert pair.submit(**asked, target_path="a/below").status_code == 400
    assert pair.submit(**asked).status_code == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"filters": ["nonsense"]}, 400),
        ({"filters": "- *"}, 400),
        ({"on_conflict": "ask"}, 400),
        ({"min_bytes": -1}, 400),
        ({"newer_than": "yesterday"}, 400),
        ({"newer_than": "2020-01-01T00:00:00"}, 400),
        ({"bytes_per_second": 0}, 400),
        ({"source_path": "../up"}, 400),
        ({"target_path": "/abs"}, 400),
        ({"target_volume": "nowhere"}, 400),
        ({"target_path": "in/nothing"}, 404),
        ({"source": absent()}, 404),
        ({"target": "0" * 32}, 400),
    ],
)
def test_what_is_wrong_is_said_at_once(pair: Pair, body: dict[str, object], status: int) -> None:
    source, _ = pair.folder()
    response = pair.submit(**{"source": source, "target": absent(), **body})
    assert response.status_code == status, response.text


@pytest.mark.part("rsync")
def test_the_wires_clone_goes_to_another_volume_too(pair: Pair) -> None:
    source, path = pair.folder()
    hostile(path)
    for special in ("fifo", "socket"):
        (path / special).unlink()
    target = absent()
    body = {"src_volume": "local", "src_vfid": source, "dst_volume": "other", "dst_vfid": target}
    job = pair.door.call("POST", "/folder/clone", body).json()["bgtask_id"]
    ended = pair.ended(job)
    assert ended["state"] == "succeeded", ended
    assert ended["volume"] == "other", "the nodes of the target do the work"
    assert differences(path, pair.path(target)) == ""
    assert not pair.path(target, "local").exists()
