"""Records of jobs that ended: packed, read back as they were, and those of former versions."""

import json
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from core.errors import JobNotFound
from core.jobs import Job, State, packing
from core.jobs.store import PREFIX, JobEnd, JobLists, Query
from tests.core.jobs.conftest import LEASE_SECONDS, Desk, folder
from tests.core.jobs.ledger import Ledger

FORMER = json.loads((Path(__file__).parent / "former" / "layout_2.json").read_text("utf-8"))
NAMES: dict[str, str] = FORMER["names"]
TEXTS = {
    "request": '{"verb":"clone","volume":"v"}' + " " * 200,
    "result": json.dumps({"sentence": "cloned \udce4", "files": 2**60}),
    "progress": json.dumps({"percent": 100.0, "text": "예순 파일"}),
}

#: `TEXTS`, packed by version 1.
VERSION_1 = (
    "1:ePkvyOWZq8YoiWAlT5lSrcIwAcCyBFF4KcBCLqY0JTnVRElHAVaUKhgamhpZGhmaGpiY"
    "GZhZmJhZmpuBCyJ4KaMAKWYUoHGgoBRTmmxmYAEkjQyTQQYaGyQDOebmyUq1AEJ4Q74="
)


def write(client: "Redis", keys: dict[str, Any]) -> None:
    for key, (kind, value) in keys.items():
        match kind:
            case "hash":
                client.hset(key, mapping=value)
            case "zset":
                client.zadd(key, dict(value))
            case "set":
                client.sadd(key, *value)
            case "list":
                client.rpush(key, *value)
            case _:
                client.set(key, value)


def record(**fields: str) -> dict[str, str]:
    return {"scope": "user:1", "vfolders": "user:1/a user:2/b", **fields}


def test_packed_texts_come_back() -> None:
    found = packing.packed(TEXTS, packing.known_of(record()))
    assert found.startswith("1:")
    fields = record(packed=found)
    packing.unpack(fields)
    assert fields == record(error="", **TEXTS)


def test_what_packing_makes_no_shorter_stays() -> None:
    assert packing.packed({"request": "{}"}, "") == ""
    assert packing.packed({"request": "{\n}" + " " * 999}, "") == ""
    fields = record(request="{}")
    packing.unpack(fields)
    assert fields == record(request="{}")


@pytest.mark.parametrize("harm", ["version", "dictionary", "text", "base64", "cut"])
def test_a_damaged_record_is_named_so(harm: str) -> None:
    found = packing.packed(TEXTS, packing.known_of(record()))
    fields = {
        "version": record(packed="2" + found[1:]),
        "dictionary": record(packed=found) | {"scope": "user:2"},
        "text": record(packed=found[:40] + found[41:44] + found[40] + found[44:]),
        "base64": record(packed=found[:-3] + "?"),
        "cut": record(packed=found[:-8]),
    }[harm]
    with pytest.raises(ValueError, match=r"packed|padding|base64"):
        packing.unpack(fields)


def test_the_dictionary_of_a_version_never_changes() -> None:
    """This record was written by version 1: records are kept for weeks."""
    fields = record(packed=VERSION_1)
    packing.unpack(fields)
    assert fields == record(error="", **TEXTS)


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.PARTIAL, State.FAILED])
def test_a_job_that_ended_says_all_that_it_said(desk: Desk, state: State) -> None:
    job, lists = desk.clone(folder(), folder(), label="nightly"), JobLists(desk.redis)
    desk.claim(job)
    desk.store.heartbeat(job, "r1", LEASE_SECONDS, TEXTS["progress"])
    failed = state is State.FAILED
    texts = ("", TEXTS["result"]) if failed else (TEXTS["result"], "")
    assert desk.store.finish(job.id, "r1", JobEnd(state, *texts))
    assert desk.store.finish(job.id, "r1", JobEnd(state, *texts)), "its answer was lost"
    assert not desk.store.finish(job.id, "r2", JobEnd(state, *texts))
    found = desk.store.get(job.id)
    whole, was = found.document(), job.document()
    assert whole["request"] == was["request"]
    assert whole["progress"] == json.loads(TEXTS["progress"])
    assert whole["error" if failed else "result"] == json.loads(TEXTS["result"])
    assert whole["result" if failed else "error"] is None
    assert whole["updated_at"] == whole["ended_at"]
    assert (found.id, found.losses) == (job.id, 0)
    assert lists.page(Query()).jobs[0].document() == whole
    kinds = [(line["kind"], line["attempt"], line["node"]) for line in lists.log(job.id)]
    assert kinds == [("submitted", 0, None), ("claimed", 1, "n1"), (state.value, 1, "n1")]
    moments = [line["at"] for line in lists.log(job.id)]
    assert moments == [whole["created_at"], whole["started_at"], whole["ended_at"]]


def test_a_log_that_says_more_than_its_record_is_kept(desk: Desk) -> None:
    lists = JobLists(desk.redis)
    job = desk.usage(folder())
    desk.claim(job)
    desk.store.set_pace(job.id, 7)
    desk.finish(job)
    kinds = [line["kind"] for line in lists.log(job.id)]
    assert kinds == ["submitted", "claimed", "bandwidth", "succeeded"]
    waiting = desk.usage(folder())
    desk.store.cancel(waiting.id, "m")
    assert [line["text"] for line in lists.log(waiting.id)] == [None, "m"]
    assert lists.log("no such job") == []


@pytest.fixture
def former(desk: Desk) -> Desk:
    desk.store.redis.flushdb()
    write(desk.store.redis, FORMER["keys"])
    desk.store.redis.zadd(f"{PREFIX}due", dict.fromkeys(NAMES.values(), 2**52), xx=True)
    return desk


def test_records_of_layout_2_are_read_and_go_on(former: Desk) -> None:
    client, lists = former.store.redis, JobLists(former.store.redis)
    assert former.store.reap(3) == (0, 0, 0), "the first move migrates"
    assert client.get(f"{PREFIX}layout") == "3"
    assert not client.exists(f"{PREFIX}ix:all")
    Ledger.read(client).check()
    page = lists.page(Query()).jobs
    assert sorted(job.id for job in page) == sorted(NAMES.values())
    assert [job.seq for job in page] == sorted((job.seq for job in page), reverse=True)
    ended: Job = former.store.get(NAMES["ended"])
    assert ended.document()["result"] == {"sentence": "cloned"}
    assert ended.document()["label"] == "nightly"
    kinds = [line["kind"] for line in lists.log(ended.id)]
    assert kinds == ["submitted", "claimed", "succeeded"]
    assert former.store.finish(ended.id, "r0", JobEnd(State.SUCCEEDED)), "it has ended it before"
    assert former.store.get(NAMES["failed"]).member("error")["title"] == "Failed"
    assert former.store.get(NAMES["waits"]).fields["waits_for"] == NAMES["running"]
    assert former.store.finish(NAMES["running"], "r1", JobEnd(State.SUCCEEDED))
    assert former.store.get(NAMES["waits"]).fields["reason"] == "waiting for a worker"
    client.delete(f"{PREFIX}outbox")
    for name in ("ended", "failed", "cancelled"):
        former.store.forget(NAMES[name])
        with pytest.raises(JobNotFound):
            former.store.get(NAMES[name])
    Ledger.read(client).check()


def test_pages_of_all_jobs_go_on_while_jobs_change_their_states(desk: Desk) -> None:
    jobs = [desk.usage(folder()) for _ in range(9)]
    lists = JobLists(desk.redis)
    found, cursor = [], ""
    while True:
        page = lists.page(Query(limit=2, cursor=cursor))
        found += [job.id for job in page.jobs]
        if not (cursor := page.next):
            break
        for job in jobs[:2]:
            desk.store.cancel(job.id)
    assert found == [job.id for job in reversed(jobs)]
