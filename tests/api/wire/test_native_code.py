"""A part in C that was not built is reported: at the start, in /health and as a metric."""

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from backends.fs import native
from tests.support.doors import running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey
from tests.support.worker import running_worker

#: Runs before the program: the import of the extension fails, as where it was not built.
HIDING = 'import sys\nsys.modules["backends.fs._native"] = None\n'
EVENT = "native code missing"
CHECK = {
    "service_group": "process",
    "component_id": "native-code",
    "is_healthy": True,
    "error_message": native.MISSING,
}


@pytest.fixture
def hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the extension from all processes that the test starts."""
    place = tmp_path / "site"
    place.mkdir()
    (place / "sitecustomize.py").write_text(HIDING)
    monkeypatch.setenv("PYTHONPATH", str(place))


def events(log: Path) -> list[dict[str, Any]]:
    """The log lines of a process that report the missing part."""
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
    return [event for event in map(json.loads, lines) if event["event"] == EVENT]


def metric(url: str) -> str:
    """The value of the gauge."""
    lines = requests.get(f"{url}/metrics", timeout=60).text.splitlines()
    [value] = [line.split()[1] for line in lines if line.startswith("vfolder_native_code ")]
    return value


def native_checks(url: str) -> tuple[str, list[dict[str, Any]]]:
    """The status of /health, and its checks of the part in C, once others are known too."""

    def known() -> tuple[str, list[dict[str, Any]]] | None:
        report = requests.get(f"{url}/health", timeout=60).json()
        checks = report["connectivity"]["connectivity_checks"]
        groups = {check["service_group"] for check in checks}
        ours = [check for check in checks if check["component_id"] == "native-code"]
        unseen = [check for check in checks if "yet" in (check["error_message"] or "")]
        seen = {"redis", "volume"} <= groups and not unseen
        return (report["status"], ours) if seen else None

    return wait_for(known)


@pytest.mark.usefixtures("hidden")
def test_a_door_reports_a_missing_part(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url)
    with running_door("internal", settings) as door:
        status, [check] = native_checks(door.url)
        assert status == "ok", "the node works without the part"
        assert check.items() >= CHECK.items()
        assert metric(door.url) == "0.0"
    [event] = events(settings.directory / "internal.log")
    assert event["level"] == "warning"
    assert event["effect"] == native.MISSING


@pytest.mark.usefixtures("hidden")
def test_a_worker_reports_a_missing_part_and_works(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url)
    with running_worker(settings):
        pass
    assert len(events(settings.directory / "worker.log")) == 1


@pytest.mark.part("native-code")
def test_nothing_is_reported_where_the_part_is_there(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url)
    with running_door("internal", settings) as door:
        assert native_checks(door.url) == ("ok", [])
        assert metric(door.url) == "1.0"
    assert not events(settings.directory / "internal.log")
