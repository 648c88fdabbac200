"""The dashboard, the alert rules and the reference's questions, put to a real Prometheus."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from core.lifeline import end_with_parent
from tests.support.doors import AUTH, running_door, settings_in
from tests.support.node import ROOT, wait_for
from tests.support.valkey import Valkey, free_port

RULES = ROOT / "deploy" / "prometheus"
FAMILY = re.compile(r"\b((?:vfolder|backendai)_[a-z_]+)")
NOWHERE = "user:00000000-0000-0000-0000-000000000003/" + "4" * 32


def board_queries() -> list[str]:
    board = json.loads((RULES / "dashboard.json").read_text("utf-8"))
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def alert_queries() -> list[str]:
    groups = yaml.safe_load((RULES / "alerts.yml").read_text("utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def documented() -> set[str]:
    text = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    found = set(FAMILY.findall(text))
    return found | {f"{name}_bucket" for name in found}


def test_queries_ask_for_families_that_exist() -> None:
    asked = {name for query in board_queries() + alert_queries() for name in FAMILY.findall(query)}
    others = {
        f"backendai_storage_volume_throughput_bytes_{direction}" for direction in ("read", "write")
    }
    assert asked - documented() == others, "these are the «five more» of the document"


@pytest.mark.part("prometheus")
def test_rules_hold_and_do_what_they_say(tmp_path: Path) -> None:
    for arguments in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]):
        done = subprocess.run(
            ["promtool", *arguments], cwd=RULES, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    rules = [
        {"record": f"board:query{number}", "expr": query}
        for number, query in enumerate(board_queries())
    ]
    path = tmp_path / "board.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


#: Rate by route, errors by detail, 95th percentile, errors of one route, and ours.
COUNT, SECONDS = "backendai_api_request_count_total", "backendai_api_request_duration_sec_bucket"
QUESTIONS = (
    f"sum by (endpoint) (rate({COUNT}[10s]))",
    f'sum by (error_detail) (rate({COUNT}{{error_detail!=""}}[10s]))',
    f'histogram_quantile(0.95, sum by (le) (rate({SECONDS}{{endpoint="/volumes"}}[10s])))',
    f'rate({COUNT}{{endpoint="/folder/usage", error_detail="not-found"}}[10s])',
    "vfolder_volume_up",
    "vfolder_store_up",
)


class Prometheus:
    """A real one, asked over its own API."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, query: str) -> list[dict[str, Any]]:
        answer = requests.get(f"{self.url}/api/v1/query", {"query": query}, timeout=10)
        if not answer.ok:
            return []
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return [one for one in found if one["value"][1] not in ("NaN", "0")]

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/-/ready", timeout=5).ok
        except requests.ConnectionError:
            return False


@contextmanager
def scraping(target: str, directory: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes one target every second."""
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "vfolder", "static_configs": [{"targets": [target]}]}],
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={directory}/prometheus.yml",
                f"--storage.tsdb.path={directory}/tsdb",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - a prctl only
        )
    try:
        found = Prometheus(port)
        wait_for(found.answers, told=(directory / "prometheus.log").read_text())
        yield found
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.part("prometheus")
@pytest.mark.timeout(120)
def test_a_real_prometheus_reads_us(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url)
    address = settings.api.manager.internal_address
    with (
        running_door("manager", settings) as manager,
        running_door("internal", settings),
        scraping(str(address), tmp_path) as prometheus,
    ):

        def load() -> None:
            for path in ("/volumes", "/nope", "/folder/usage"):
                body = {"volume": "local", "vfid": NOWHERE} if path == "/folder/usage" else None
                requests.get(manager.url + path, json=body, headers=AUTH, timeout=10)

        def grows(query: str) -> bool:
            load()
            return bool(prometheus.ask(query))

        for query in QUESTIONS:
            wait_for(lambda query=query: grows(query), told=query)  # type: ignore[misc] # bound now
