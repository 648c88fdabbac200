"""A store that the former version wrote: its live jobs continue, in the same order."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from redis import Redis, RedisError

from core.errors import Unavailable
from core.jobs import State
from core.jobs.store import PREFIX, JobEnd, JobLists, JobStore, Query
from core.jobs.store.migration import migrate
from core.redis import store_is_away
from tests.core.jobs.conftest import Desk
from tests.core.jobs.ledger import Ledger
from tests.support.valkey import Valkey

#: What the former version wrote, with a name for each job.
FORMER = json.loads((Path(__file__).parent / "former" / "layout_1.json").read_text("utf-8"))
NAMES: dict[str, str] = FORMER["names"]


def write(client: "Redis") -> None:
    for key, (kind, value) in FORMER["keys"].items():
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


@pytest.fixture
def former(desk: Desk) -> Desk:
    desk.store.redis.flushdb()
    write(desk.store.redis)
    return desk


def reap_nothing(desk: Desk) -> None:
    """Let no lease of the former runs be overdue: the file is old."""
    desk.store.redis.zadd(f"{PREFIX}due", dict.fromkeys(NAMES.values(), 2**52), xx=True)


def waits_for(desk: Desk, name: str) -> str:
    return desk.store.get(NAMES[name]).fields["waits_for"]


def end(desk: Desk, name: str, run: str = "new") -> None:
    job = NAMES[name]
    if run == "new":
        assert desk.store.claim(job, run, "n9", 3600) == "ok", name
    state = desk.store.get(job).state
    ends = State.CANCELLED if state is State.CANCELLING else State.SUCCEEDED
    assert desk.store.finish(job, run, JobEnd(ends))


def rung(desk: Desk) -> list[str]:
    by_id = {job: name for name, job in NAMES.items()}
    return [by_id[job] for job in desk.rung()]


def test_every_live_job_has_its_place(former: Desk) -> None:
    reap_nothing(former)
    assert former.store.reap(3) == (0, 0, 0), "the first move migrates"
    Ledger.read(former.store.redis).check()
    assert waits_for(former, "reader one") == NAMES["running"]
    assert waits_for(former, "writer") == NAMES["running"]
    assert waits_for(former, "writer behind a reader") == NAMES["cancelling"]
    for name, reason in {
        "ready two": "waiting for a slot",
        "late reader": f"waiting for the exclusive lock of job {NAMES['running']}",
        "admitted": "waiting for a worker",
        "rests": "paused",
        "paused amid its work": "paused",
        "on a paused volume": "waiting for a slot",
    }.items():
        assert former.store.get(NAMES[name]).fields["reason"] == reason
    assert former.store.get(NAMES["ended"]).document()["result"] == {"sentence": "done"}
    assert len(JobLists(former.store.redis).page(Query()).jobs) == len(NAMES)


def test_the_former_jobs_go_on_in_their_order(former: Desk) -> None:
    reap_nothing(former)
    former.store.reap(3)
    end(former, "running", "r1")
    assert rung(former) == ["ready two"]
    end(former, "admitted")
    assert rung(former) == ["reader one"], "the scopes take turns"
    end(former, "urgent")
    assert rung(former) == ["reader two"]
    end(former, "reader one")
    end(former, "ready two")
    assert rung(former) == []
    assert waits_for(former, "writer") == NAMES["reader two"]
    end(former, "reader two")
    end(former, "cancelling", "r2")
    assert sorted(rung(former)) == ["writer", "writer behind a reader"]
    former.store.pause_volume("w", resume=True)
    assert rung(former) == ["on a paused volume"]
    end(former, "writer")
    assert rung(former) == ["late reader"]
    Ledger.read(former.store.redis).check()


class Died(Exception):
    """The process is gone."""


class Dying(Redis):
    """A connection of a process that dies after some scripts."""

    scripts_left = 0

    def execute_command(self, *words: Any, **options: Any) -> Any:
        self.scripts_left -= words[0] == "EVALSHA"
        if self.scripts_left < 0:
            raise Died
        return super().execute_command(*words, **options)


def test_a_migration_that_died_is_begun_again(valkey: Valkey, former: Desk) -> None:
    """The process dies after each of its scripts in turn."""
    redis = former.store.redis
    for last in range(1, 50):
        redis.flushdb()
        write(redis)
        reap_nothing(former)
        with Dying.from_url(f"{valkey.url}/1", decode_responses=True) as client:
            client.scripts_left = last
            try:
                JobStore(client, lambda _: None).reap(3)
                break
            except Died:
                redis.delete(f"{PREFIX}layout:lock")  # it expires
        former.store.reap(3)
        Ledger.read(redis).check()
    else:
        pytest.fail("the migration has no end")
    assert last > 5


class Repeating(Redis):
    """A connection that loses the first answer to each script, so that each runs twice."""

    def execute_command(self, *words: Any, **options: Any) -> Any:
        if words[0] == "EVALSHA":
            super().execute_command(*words, **options)
        return super().execute_command(*words, **options)


def test_each_step_of_a_migration_may_run_twice(valkey: Valkey, former: Desk) -> None:
    reap_nothing(former)
    with Repeating.from_url(f"{valkey.url}/1", decode_responses=True) as client:
        migrate(client)
    Ledger.read(former.store.redis).check()


def test_processes_that_start_together_migrate_once(former: Desk) -> None:
    reap_nothing(former)
    threads = [threading.Thread(target=former.store.reap, args=(3,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    Ledger.read(former.store.redis).check()


def test_a_store_of_a_newer_version_is_refused(desk: Desk) -> None:
    desk.store.redis.set(f"{PREFIX}layout", "99")
    with pytest.raises(Unavailable, match="layout 99") as refused:
        desk.usage("user:00000000-0000-0000-0000-000000000001/" + "0" * 32)
    assert store_is_away(refused.value), "a run waits for it, and settles its job afterwards"
    assert isinstance(refused.value, RedisError), "threads that wait for the store go on"
    assert desk.store.redis.get(f"{PREFIX}layout") == "99"
