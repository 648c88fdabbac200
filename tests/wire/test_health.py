"""The health document: in the wire's shape, naming what is wrong, and never waiting for it."""

from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.doors import running_door, settings_in
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


def checks(url: str, path: str) -> tuple[int, dict[str, dict[str, Any]], dict[str, Any]]:
    """Status, the checks by name, the whole document."""
    response = requests.get(url + path, timeout=AT_ONCE_SECONDS)
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
    with running_door(door, settings) as running:
        url = running.url

        def named() -> bool:
            _, found, _ = checks(url, "/readyz")
            return "volume/bad" in found and not found["volume/bad"]["is_healthy"]

        wait_for(named, seconds=3 * settings.vfolder.worker.prove_timeout)
        status, found, document = checks(url, "/readyz")
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
        assert checks(url, "/health")[0] == 200
        assert checks(url, "/health")[2]["status"] == "degraded"
        assert checks(url, "/livez")[0] == 200, "the process itself answers"
        faults.write_text("")
        wait_for(lambda: checks(url, "/readyz")[0] == 200, seconds=60)


def test_a_store_that_is_away_is_named(tmp_path: Path) -> None:
    (tmp_path / "valkey").mkdir()
    with running_valkey(tmp_path / "valkey") as server:
        settings = settings_in(tmp_path, server.url, "[vfolder.doors]\nprocesses = 1")
        with running_door("internal", settings) as running:
            wait_for(lambda: "redis/jobs" in checks(running.url, "/readyz")[1])
            assert checks(running.url, "/readyz")[0] == 200
            server.kill()
            wait_for(lambda: checks(running.url, "/readyz")[0] == 503, seconds=30)
            wait_for(lambda: not checks(running.url, "/readyz")[1]["broker/jobs"]["is_healthy"])
            server.start()
            wait_for(lambda: checks(running.url, "/readyz")[0] == 200, seconds=30)
