"""The health document: in the wire's shape, naming what is wrong, and never waiting for it."""

import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis

from core.redis import prove_write
from core.redis.connections import PROOF_KEY
from tests.support.doors import mark, running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey, running_valkey

BAD = """
[volume.bad]
backend = "faulty"
path = "bad"
[volume.bad.options]
faults = "{faults}"
[vfolder.doors]
processes = 1
"""
#: A probe answers at once, whatever hangs (seconds); far above what it takes, far below a deadline.
AT_ONCE_SECONDS = 2.0


def at_once(url: str) -> requests.Response:
    """An answer that came at once.

    A busy machine may delay any answer, so the request is repeated. A door that waits for what
    hangs never answers at once.
    """

    def asked() -> list[requests.Response]:
        with suppress(requests.Timeout):
            return [requests.get(url, timeout=AT_ONCE_SECONDS)]
        return []

    return wait_for(asked, failure=f"{url} waits for something")[0]


def checks(url: str, path: str) -> tuple[int, dict[str, dict[str, Any]], dict[str, Any]]:
    """Status, the checks by name, the whole document."""
    response = at_once(url + path)
    document = response.json()
    found = document["connectivity"]["connectivity_checks"]
    by_name = {f"{check['service_group']}/{check['component_id']}": check for check in found}
    return response.status_code, by_name, document


@pytest.mark.parametrize("door", ["manager", "internal"])
def test_a_hung_volume_is_named_and_waited_for_by_nobody(
    door: str, tmp_path: Path, valkey: Valkey
) -> None:
    (tmp_path / "bad").mkdir()
    faults = tmp_path / "faults.toml"
    faults.write_text("hang = true")
    settings = settings_in(tmp_path, valkey.url, BAD.format(faults=faults))
    mark(settings, {"bad": tmp_path / "bad"})
    with running_door(door, settings) as running:
        url = running.url

        def named() -> Any:
            """The look at which the volume that hangs, and it alone, is not well."""
            status, found, document = checks(url, "/readyz")
            ill = {name for name, check in found.items() if not check["is_healthy"]}
            seen = {"volume/local", "redis/jobs", "redis/events", "broker/jobs"} <= found.keys()
            looked = ill == {"volume/bad"} and "answer" in found["volume/bad"]["error_message"]
            return (status, found, document) if seen and looked else None

        status, found, document = wait_for(named)
        assert status == 503
        assert document["status"] == "error"
        assert not document["connectivity"]["overall_healthy"]
        assert found["volume/bad"]["error_message"] == "Volume bad does not answer."
        assert found["volume/local"]["is_healthy"]
        assert {name for name, check in found.items() if check["is_healthy"]} >= {
            "redis/jobs",
            "redis/events",
            "broker/jobs",
        }
        status, _, document = checks(url, "/health")
        assert (status, document["status"]) == (200, "degraded")
        assert checks(url, "/livez")[0] == 200, "the process itself answers"
        faults.write_text("")
        wait_for(lambda: checks(url, "/readyz")[0] == 200)


def test_a_store_that_is_away_is_named(tmp_path: Path) -> None:
    (tmp_path / "valkey").mkdir()
    with running_valkey(tmp_path / "valkey") as server:
        settings = settings_in(tmp_path, server.url, "[vfolder.doors]\nprocesses = 1")
        with running_door("internal", settings) as running:
            wait_for(lambda: "redis/jobs" in checks(running.url, "/readyz")[1])
            wait_for(lambda: checks(running.url, "/readyz")[0] == 200)
            server.kill()
            wait_for(lambda: checks(running.url, "/readyz")[0] == 503)

            def named() -> bool:
                """Whether the broker was looked at since, and is named."""
                found = checks(running.url, "/readyz")[1]
                return "broker/jobs" in found and not found["broker/jobs"]["is_healthy"]

            wait_for(named)
            server.start()
            wait_for(lambda: checks(running.url, "/readyz")[0] == 200)


def test_it_is_not_ready_before_every_part_was_looked_at(tmp_path: Path, valkey: Valkey) -> None:
    """The store hangs while the door starts: no part is left out, and none counts as healthy."""
    (tmp_path / "bad").mkdir()
    faults = tmp_path / "faults.toml"
    faults.write_text("hang = true")
    settings = settings_in(tmp_path, valkey.url, BAD.format(faults=faults))
    mark(settings, {"bad": tmp_path / "bad"})
    assert valkey.process
    valkey.process.send_signal(signal.SIGSTOP)
    try:
        with running_door("internal", settings) as running:
            parts = {"volume/local", "volume/bad", "redis/jobs", "redis/events", "broker/jobs"}
            for _ in range(10):
                status, found, document = checks(running.url, "/readyz")
                assert status == 503
                assert set(found) - {"process/native-code"} == parts
                assert not document["connectivity"]["overall_healthy"]
                assert not any(found[part]["is_healthy"] for part in parts - {"volume/local"})
            faults.write_text("")
            valkey.process.send_signal(signal.SIGCONT)
            wait_for(lambda: checks(running.url, "/readyz")[0] == 200)
            assert parts <= set(checks(running.url, "/readyz")[1])
    finally:
        valkey.process.send_signal(signal.SIGCONT)


def redis_errors(url: str) -> set[str | None]:
    found = checks(url, "/readyz")[1]
    return {check["error_message"] for name, check in found.items() if name.startswith("redis/")}


def test_a_store_that_refuses_writes_is_not_ready(tmp_path: Path, valkey: Valkey) -> None:
    """A full store answers every ping; only a write proves that the node can work."""
    settings = settings_in(tmp_path, valkey.url, "[vfolder.doors]\nprocesses = 1")
    with running_door("manager", settings) as running, valkey.client() as client:
        wait_for(lambda: "redis/jobs" in checks(running.url, "/readyz")[1])
        wait_for(lambda: checks(running.url, "/readyz")[0] == 200)
        client.config_set("maxmemory", "1")
        try:
            wait_for(lambda: redis_errors(running.url) == {"It refuses writes."})
            assert checks(running.url, "/readyz")[0] == 503
            assert checks(running.url, "/livez")[0] == 200
            job = {"verb": "rescan", "volume": "local"}
            refused = running.call("POST", "/v1/jobs", job, on_fault=True)
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) > 0
            assert refused.json()["retriable"]
            assert "refuses" in refused.json()["detail"]
        finally:
            client.config_set("maxmemory", "0")
        wait_for(lambda: checks(running.url, "/readyz")[0] == 200)
        assert running.call("POST", "/v1/jobs", job).status_code == 202


def test_a_store_that_hangs_is_waited_for_by_no_probe(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url, "[vfolder.doors]\nprocesses = 1\nthreads = 2")
    with running_door("manager", settings) as running:
        wait_for(lambda: checks(running.url, "/readyz")[0] == 200)
        assert valkey.process
        valkey.process.send_signal(signal.SIGSTOP)
        try:
            wait_for(lambda: checks(running.url, "/readyz")[0] == 503)
            for _ in range(10):
                assert checks(running.url, "/livez")[0] == 200
                assert redis_errors(running.url) <= {
                    "It cannot be reached.",
                    "It does not answer.",
                    None,
                }
        finally:
            valkey.process.send_signal(signal.SIGCONT)
        wait_for(lambda: checks(running.url, "/readyz")[0] == 200)


def test_many_processes_prove_with_few_writes(redis_client: Redis) -> None:
    before = redis_client.info("persistence")["rdb_changes_since_last_save"]
    for _ in range(200):
        prove_write(redis_client)
    changed = redis_client.info("persistence")["rdb_changes_since_last_save"] - before
    assert changed < 50
    assert redis_client.pttl(PROOF_KEY) > 0


def test_a_volume_that_the_node_does_not_serve_keeps_it_from_nothing(
    tmp_path: Path, valkey: Valkey
) -> None:
    """As on the node of the scheduler, whose file names the volumes of all nodes."""
    cold = f'[volume.cold]\nbackend = "vfs"\npath = "{tmp_path / "absent"}"\n'
    more = f'{cold}[vfolder.worker]\nvolumes = ["local"]\n'
    with running_door("internal", settings_in(tmp_path, valkey.url, more)) as running:
        wait_for(lambda: checks(running.url, "/readyz")[0] == 200)
        found = checks(running.url, "/readyz")[1]
    assert "volume/local" in found
    assert "volume/cold" not in found
