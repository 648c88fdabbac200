"""One node does what one is enough for; nodes that left are forgotten; connections are shared."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs
from prometheus_client import Metric
from redis import Redis

from api.doors.internal.metrics import ClusterGauges
from core.cluster import Leadership, NodeStore
from core.cluster.nodes import FORGET_SECONDS
from core.redis import Database, connect
from core.settings import Settings, load
from core.uploads import Upload, UploadStore
from tests.support.doors import settings_in
from tests.support.node import wait_for
from tests.support.node_records import node_record
from tests.support.valkey import Valkey


@pytest.fixture
def jobs(valkey: Valkey, redis_client: Redis) -> Iterator[Redis]:
    with valkey.client(1) as client:
        yield client


@pytest.fixture
def settings(tmp_path: Path, valkey: Valkey) -> Settings:
    return settings_in(tmp_path, valkey.url)


def test_one_of_many_nodes_leads_until_it_resigns_or_falls_silent(jobs: Redis) -> None:
    first, second, third = (Leadership(jobs, name) for name in ("a", "b", "c"))
    assert [one.hold() for one in (first, second, third, first)] == [True, False, False, True]
    second.resign()
    assert first.hold(), "only the leader resigns"
    first.resign()
    assert second.hold()
    assert not first.hold()
    jobs.pexpire("vf:leader", 1)
    wait_for(third.hold)
    assert not second.hold()


def test_nodes_that_left_are_forgotten_after_a_day(jobs: Redis) -> None:
    nodes = NodeStore(jobs)
    for name in ("lives", "left", "silent", "back"):
        nodes.renew(node_record(name))
        assert nodes.claim_arrival(name)
    nodes.drain("left")
    for name in ("left", "back"):
        assert nodes.deregister(name)
    nodes.renew(node_record("back"))
    jobs.hset("vf:nodes", "former", "{}")  # an earlier version removed no record
    assert nodes.forget_old() == 0
    day = FORGET_SECONDS + 1
    for key, name in (("left", "left"), ("seen", "silent"), ("left", "former")):
        jobs.zincrby(f"vf:nodes:{key}", -day, name)
    jobs.zadd("vf:nodes:left", {"back": 1})  # written by an earlier version's node beside it
    assert nodes.forget_old() == 3
    assert sorted(jobs.hkeys("vf:nodes")) == ["back", "lives"]
    assert jobs.zrange("vf:nodes:left", 0, -1) == []
    assert sorted(jobs.zrange("vf:nodes:seen", 0, -1)) == ["back", "lives"]
    assert jobs.smembers("vf:nodes:draining") == {"left"}, "the operator's request stays"
    assert {one["id"] for one in nodes.all()} == {"back", "lives"}


def families(settings: Settings, name: str) -> dict[str, Metric]:
    own = replace_node(settings, name)
    return {family.name: family for family in ClusterGauges(lambda: own).collect()}


def replace_node(settings: Settings, name: str) -> Settings:
    path = Path(settings.origin)
    other = path.with_name(f"{name}.toml")
    other.write_text(path.read_text().replace('node-id = "node1"', f'node-id = "{name}"'))
    return load(other, environ={})


def test_one_node_exports_the_gauges_of_the_cluster(jobs: Redis, settings: Settings) -> None:
    first, second = families(settings, "n1"), families(settings, "n2")
    assert "vfolder_jobs_waiting" in first
    assert set(second) == {"vfolder_store_up"}
    jobs.delete("vf:exporter")  # it is not scraped any more
    assert "vfolder_jobs_waiting" in families(settings, "n2")
    assert set(families(settings, "n1")) == {"vfolder_store_up"}


def test_a_full_store_still_has_gauges(jobs: Redis, settings: Settings) -> None:
    jobs.config_set("maxmemory", "1")
    try:
        found = families(settings, "n1")
    finally:
        jobs.config_set("maxmemory", "0")
    assert "vfolder_store_connections" in found
    assert found["vfolder_store_up"].samples[0].value == 1.0


def test_open_uploads_are_counted_without_a_scan(
    jobs: Redis, valkey: Valkey, settings: Settings
) -> None:
    store = UploadStore(connect(settings, Database.UPLOADS), "n1")
    made = [
        Upload(
            id=f"u{number}",
            volume="local",
            vfolder=f"user:{number:032x}/{1:032x}",
            path="f",
            session=f"s{number}",
            length=1,
        )
        for number in range(5)
    ]
    for upload in made:
        store.create(upload)
    assert store.count() == 5
    lease = store.acquire("u0", 0, lambda: True)
    assert store.count() == 5
    store.save(lease, finished(made[0]))
    store.forget("u1")
    assert store.count() == 3
    with valkey.client(8) as uploads:
        uploads.zadd("tus.upload.open.all", {"u2": 1})  # nothing was written for a day
    assert store.count() == 2
    store.create(finished(made[4], id="u9", finished=False, session="s9"))
    with valkey.client(8) as uploads:
        assert uploads.zscore("tus.upload.open.all", "u2") is None
    jobs.config_resetstat()
    assert families(settings, "n1")["vfolder_uploads_open"].samples[0].value == 3.0
    assert "cmdstat_scan" not in jobs.info("commandstats")


def finished(upload: Upload, **changes: object) -> Upload:
    return structs.replace(upload, **{"finished": True, **changes})


def test_clients_of_one_database_share_their_connections(jobs: Redis, settings: Settings) -> None:
    before = jobs.info("clients")["connected_clients"]
    own = connect(settings, Database.JOBS).client_id()
    for _ in range(50):
        with connect(settings, Database.JOBS) as client:
            client.ping()
    assert jobs.info("clients")["connected_clients"] <= before + 1
    number = os.fork()
    if number == 0:  # a forked process connects by itself
        try:
            with connect(settings, Database.JOBS) as client:
                os._exit(0 if client.client_id() != own else 1)
        finally:
            os._exit(2)
    assert os.waitpid(number, 0)[1] == 0
