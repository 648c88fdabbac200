"""Transfers by XCP, from the door to the stand-in: each way it ends is the right end of the job."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.backends.transfer.xcp.conftest import StandIn
from tests.support.node import gone, wait_for
from tests.support.trees import snapshot
from tests.workers.transfer.conftest import Pair, absent

FILES = 60


@pytest.fixture
def standin(pair: Pair) -> Iterator[StandIn]:
    """A stand-in without faults and without recorded calls."""
    pair.standin.state()
    pair.standin.faults()
    pair.standin.reset()
    yield pair.standin
    pair.standin.state()
    pair.standin.faults()


def asked(pair: Pair, **more: Any) -> dict[str, Any]:
    source, path = pair.folder("nas1")
    for number in range(FILES):
        (path / f"f{number}").write_text("x" * number)
    return {
        "volume": "nas1",
        "source": source,
        "target_volume": "nas2",
        "target": absent(),
        **more,
    }


def nothing_left(pair: Pair, body: dict[str, Any]) -> None:
    assert not pair.path(body["target"], "nas2").exists()
    pair.emptied(body["target"], "staging", "nas2")
    assert pair.standin.indexes() == []


@pytest.mark.parametrize("verify", ["none", "size", "checksum"])
def test_it_arrives(pair: Pair, standin: StandIn, verify: str) -> None:
    body = asked(pair, verify=verify)
    assert pair.submit(**body, plan=True).json()["method"] == "xcp"
    assert not (standin.directory / "calls.jsonl").exists()
    done = pair.done(**body)
    assert done["result"]["method"] == "xcp"
    assert done["result"]["copied"] == FILES
    paths = pair.path(body["source"], "nas1"), pair.path(body["target"], "nas2")
    assert snapshot(paths[0]) == snapshot(paths[1])
    assert standin.indexes() == [], "the catalog does not grow"
    assert ("verify" in standin.commands()) == (verify == "checksum")
    pair.emptied(body["target"], "staging", "nas2")


@pytest.mark.parametrize(
    ("state", "faults", "words"),
    [
        ({"license": "missing"}, {}, "xcp activate"),
        ({"license": "expired"}, {}, "xcp license update"),
        ({"catalog": None}, {}, "catalog"),
        ({}, {"gone": 20}, "catalog"),
        ({}, {"errors": ["f3"]}, "1 errors"),
        ({}, {"errors": ["f3"], "rc": 0, "status": "PASSED"}, "1 errors"),
        ({}, {"rc": 0, "status": "FAILED"}, "failed"),
        ({}, {"rc": 1, "status": "PASSED"}, "failed"),
        ({}, {"sigkill_after": 20, "command": "copy"}, ""),
        ({}, {"full_after": 20}, "full"),
    ],
)
def test_it_fails_and_leaves_nothing(
    pair: Pair, standin: StandIn, state: dict[str, Any], faults: dict[str, Any], words: str
) -> None:
    standin.state(**state)
    standin.faults(**faults)
    body = asked(pair)
    if faults.get("command") == "copy":  # killed, it goes on by its index: no failure at all
        pair.done(**body)
        assert standin.commands().count("resume") == 1
        return
    failed = pair.done("failed", **body)
    assert words in failed["error"]["detail"]
    assert "nas:" not in str(failed["error"])
    if state.get("catalog", "here") is not None:
        nothing_left(pair, body)


def test_entries_that_fail_may_be_left_out(pair: Pair, standin: StandIn) -> None:
    standin.faults(errors=["f3", "f4"])
    body = asked(pair, on_error="skip")
    partial = pair.done("partial", **body)
    assert partial["result"]["errors"] == 2
    assert partial["result"]["complete"] is False
    assert len(list(pair.path(body["target"], "nas2").iterdir())) == FILES - 2


def test_killed_for_ever_it_fails_at_last(pair: Pair, standin: StandIn) -> None:
    standin.faults(sigkill_after=2)
    body = asked(pair)
    failed = pair.done("failed", **body)
    assert "killed" in failed["error"]["detail"]
    assert failed["error"]["code"] == "poison"  # each run resumes it a few times, and is lost


def test_a_lost_index_is_no_end(pair: Pair, standin: StandIn) -> None:
    standin.faults(sigkill_after=20, times=1, command="copy", lose_index=True)
    body = asked(pair)
    pair.done(**body)
    assert standin.commands().count("copy") == 2


def test_cancelled_nobody_is_left(pair: Pair, standin: StandIn) -> None:
    standin.faults(hang=300, fork_child=True, command="copy")
    body = asked(pair)
    job = pair.begun(**body)
    wait_for(lambda: (pair.get(job)["progress"] or {}).get("done_items"))
    call = next(call for call in standin.calls() if call["argv"][0] == "copy")
    pair.door.call("POST", f"/v1/jobs/{job}/cancel")
    assert pair.ended(job)["state"] == "cancelled"
    wait_for(lambda: gone([call["pid"]]))
    nothing_left(pair, body)


def test_what_xcp_cannot_do_goes_by_the_tree_engine(pair: Pair, standin: StandIn) -> None:
    body = asked(pair, filters=["+ f1", "- *"])
    done = pair.done(**body)
    assert done["result"]["method"] == "stream"
    assert not (standin.directory / "calls.jsonl").exists()
