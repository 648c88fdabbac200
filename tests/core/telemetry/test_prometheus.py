"""The dashboard, the alert rules and the queries of the documents, on a real Prometheus."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import requests
import yaml

from api.doors.pages import sections
from core.access import ArchiveTicket, tickets
from core.process import end_with_parent
from tests.support.doors import TICKET_SECRET, RunningDoor, running_door, settings_in
from tests.support.node import ROOT, wait_for
from tests.support.ports import free_port
from tests.support.valkey import Valkey

RULES = ROOT / "deploy" / "prometheus"
FAMILY = re.compile(r"\b((?:vfolder|backendai)_[a-z_]+)")


def board_queries() -> list[str]:
    board = json.loads((RULES / "dashboard.json").read_text("utf-8"))
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def alert_queries() -> list[str]:
    return [rule["expr"] for rule in rules()]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((RULES / "alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_alert_has_a_page_that_both_doors_show(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url)
    urls = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in rules()}
    assert set(urls) == set(sections("runbooks.md"))
    with (
        running_door("manager", settings) as manager,
        running_door("internal", settings) as internal,
    ):
        for door, name in product((manager, internal), urls):
            path = urlsplit(urls[name]).path
            page = requests.get(door.url + path, timeout=60)
            assert page.status_code == 200, path
            assert page.text.startswith(f"{name}\n"), path
        links = re.findall(r"\]\((/runbooks/\w+)\)", "".join(sections("runbooks.md").values()))
        assert links
        assert all(requests.get(internal.url + link, timeout=60).ok for link in set(links))
        assert requests.get(f"{internal.url}/runbooks/None", timeout=60).status_code == 404


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


def questions() -> list[str]:
    """The queries of docs/queries.md, and two of our own gauges."""
    text = (ROOT / "docs" / "queries.md").read_text("utf-8")
    found = re.findall(r"```promql\n(.*?)\n```", text, re.DOTALL)
    return [*found, "vfolder_volume_up", "vfolder_store_up"]


class Prometheus:
    """A real Prometheus, queried over its own API."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, query: str) -> list[dict[str, Any]]:
        answer = requests.get(f"{self.url}/api/v1/query", {"query": query}, timeout=60)
        if not answer.ok:
            return []
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return [one for one in found if one["value"][1] not in ("NaN", "0")]

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/-/ready", timeout=10).ok
        except requests.RequestException:
            return False


@contextmanager
def scraping(target: str, directory: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes one target every five seconds, with a time-out of five seconds."""
    port = free_port()
    targets = [{"targets": [target], "labels": {"service_group": "storage-proxy"}}]
    config = {
        "global": {"scrape_interval": "5s"},
        "scrape_configs": [{"job_name": "vfolder", "static_configs": targets}],
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
        wait_for(found.answers, failure=(directory / "prometheus.log").read_text)
        yield found
    finally:
        process.terminate()
        process.wait(120)


class Users:
    """Every kind of request that the queries count, sent once by `act`."""

    def __init__(self, manager: RunningDoor, client: RunningDoor) -> None:
        self._manager, self._client = manager, client

    def act(self) -> None:
        place = {"volume": "local", "vfid": f"user:{uuid4()}/{uuid4().hex}"}
        self._ask("POST", "/folder/create", place)
        upload = self._ticket("upload", place, size=5)
        headers = {"Upload-Offset": "0", "Tus-Resumable": "1.0.0"}
        headers["Content-Type"] = "application/offset+octet-stream"
        self._client.send("PATCH", f"/upload?token={upload}", data=b"bytes", headers=headers)
        download = self._ticket("download", place)
        assert self._client.send("GET", f"/download?token={download}").content == b"bytes"
        self._ask("POST", "/folder/file/list", place | {"relpath": "."})
        self._refused(place)

    def _refused(self, place: dict[str, Any]) -> None:
        scope = {"volume": "local", "qsid": place["vfid"].partition("/")[0]}
        self._ask("PATCH", "/quota-scope", scope | {"options": {"limit_bytes": 4096}})
        over = place | {"relpath": "more", "size": "1000000"}
        assert self._ask("POST", "/folder/file/upload", over).status_code == 422
        assert self._client.send("OPTIONS", "/download").status_code == 403
        spoilt = ArchiveTicket(volume="local", virtual_folder_id=place["vfid"], files=["a"], exp=1)
        token = tickets.issue(spoilt, TICKET_SECRET)
        assert self._client.send("GET", f"/download-archive?token={token}").status_code == 401
        broken = {"volume": "broken"}
        assert self._ask("GET", "/folder/fs-usage", broken).status_code == 503

    def _ticket(self, what: str, place: dict[str, Any], **more: Any) -> str:
        body = place | {"relpath": "file"} | more
        token: str = self._ask("POST", f"/folder/file/{what}", body).json()["token"]
        return token

    def _ask(self, method: str, path: str, body: dict[str, Any]) -> requests.Response:
        return self._manager.send(method, path, json=body)


@pytest.mark.part("prometheus")
def test_a_real_prometheus_answers_what_operators_ask(tmp_path: Path, valkey: Valkey) -> None:
    broken = '[volume.broken]\nbackend = "vfs"\npath = "nowhere"'
    settings = settings_in(tmp_path, valkey.url, broken)
    address = settings.api.manager.internal_address
    with (
        running_door("manager", settings) as manager,
        running_door("client", settings) as client,
        running_door("internal", settings),
        scraping(str(address), tmp_path) as prometheus,
    ):
        users = Users(manager, client)

        unanswered = questions()

        def all_answered() -> bool:
            users.act()
            unanswered[:] = [query for query in unanswered if not prometheus.ask(query)]
            return not unanswered

        wait_for(all_answered, 180, lambda: "\n".join(unanswered))
