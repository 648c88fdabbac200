"""Counters equal the requests that were sent, over all processes of a door, by route and status."""

import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from core.cluster import BandwidthStore
from core.telemetry.metrics import JOB_BUCKETS, REQUEST_BUCKETS
from tests.support.doors import AUTH, running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey

PROCESSES = 4
ROUNDS = 60
LABELS = {"method", "endpoint", "domain", "operation", "error_detail", "status_code"}
NOWHERE = f"user:{UUID(int=3)}/{UUID(int=4).hex}"
Sample = tuple[str, dict[str, str], float]


def scrape(url: str) -> list[Sample]:
    text = requests.get(f"{url}/metrics", timeout=60).text
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def counted(samples: list[Sample]) -> Counter[tuple[str, ...]]:
    """Requests by method, route, error and status."""
    found: Counter[tuple[str, ...]] = Counter()
    for name, labels, value in samples:
        if name == "backendai_api_request_count_total":
            assert set(labels) == LABELS
            parts = (labels["domain"], labels["operation"], labels["error_detail"])
            key = (labels["method"], labels["endpoint"], labels["status_code"], "/".join(parts))
            found[key] += int(value)
    return found


#: Requests (method, path, body, with the secret) and how each is counted, if it is.
ASKED = [
    (("GET", "/volumes", None, True), ("GET", "/volumes", "200", "//")),
    (("GET", "/volumes", None, False), None),
    (
        ("GET", "/v1/jobs/nothing", None, True),
        ("GET", "/v1/jobs/{job_id}", "404", "bgtask/read/not-found"),
    ),
    (("GET", "/nope", None, True), ("GET", "/nope", "404", "backendai/generic/internal-error")),
    (
        ("DELETE", "/volumes", None, True),
        ("DELETE", "/volumes", "405", "backendai/generic/internal-error"),
    ),
    (
        ("GET", "/folder/usage", {"volume": "local", "vfid": NOWHERE}, True),
        ("GET", "/folder/usage", "404", "vfolder/read/not-found"),
    ),
]


def test_counters_equal_the_requests_sent(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url, f"[vfolder.doors]\nprocesses = {PROCESSES}")
    with (
        running_door("manager", settings) as manager,
        running_door("internal", settings) as internal,
    ):
        counters = tmp_path / "metrics" / "manager"
        early = 0

        def several() -> bool:
            """The processes of the door come one after the other: wait until two have answered."""
            nonlocal early
            early += 1
            requests.get(f"{manager.url}/", timeout=60)
            return len(list(counters.glob("counter_*.db"))) > 1

        wait_for(several, failure="one process does it all: nothing is added up")
        # What was asked counts a moment after its answer was read.
        wait_for(lambda: counted(scrape(internal.url))["GET", "/", "200", "//"] == early)
        wait_for(lambda: counted(scrape(internal.url))["GET", "/health", "200", "//"] >= 1)
        before = counted(scrape(internal.url))

        def send(number: int) -> int:
            method, path, body, known = ASKED[number % len(ASKED)][0]
            answer = requests.request(
                method, manager.url + path, json=body, headers=AUTH if known else {}, timeout=60
            )
            return answer.status_code

        with ThreadPoolExecutor(16) as pool:
            scrapes = pool.submit(lambda: [scrape(internal.url) for _ in range(10)])
            list(pool.map(send, range(ROUNDS * len(ASKED))))
            assert len(scrapes.result()) == 10
        expected = Counter({how: ROUNDS for _, how in ASKED if how})
        wait_for(lambda: (counted(scrape(internal.url)) - before).total() >= expected.total())
        samples = scrape(internal.url)
        assert counted(samples) - before == expected
        seconds = [s for s in samples if s[0] == "backendai_api_request_duration_sec_bucket"]
        edges = {labels["le"] for _, labels, _ in seconds}
        assert {float(edge) for edge in edges} == {*map(float, REQUEST_BUCKETS), float("inf")}
        assert all(set(labels) == LABELS | {"le"} for _, labels, _ in seconds)


#: What is no HTTP request for gunicorn, by the first bytes of its answer's status.
UNREADABLE = {
    b"GET\r\n\r\n": "400",
    b"GET / HTTP/9.9\r\n\r\n": "400",
    b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n": "414",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: x\r\n" * 200 + b"\r\n": "431",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\n": "501",
    b"GET / HTTP/1.1\r\nHost: x\r\nBad Name: x\r\n\r\n": "400",
}


def test_what_the_server_refuses_is_counted(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url)
    with (
        running_door("manager", settings) as manager,
        running_door("internal", settings) as internal,
    ):
        address = urlsplit(manager.url)
        answered = Counter[str]()
        for sent, status in UNREADABLE.items():
            with socket.create_connection((address.hostname, address.port), 60) as connection:
                connection.sendall(sent)
                first = connection.recv(64)
            assert first.split(b" ")[1].decode() == status, sent[:40]
            answered[status] += 1

        def refused() -> Counter[str]:
            found = counted(scrape(internal.url))
            return Counter({k[2]: n for k, n in found.items() if k[1] == "{unreadable}"})

        wait_for(lambda: refused() == answered)


@pytest.mark.usefixtures("redis_client")  # empties the store
def test_what_is_read_from_store_and_volumes(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url)
    with valkey.client(1) as client:
        BandwidthStore(client).set("metered", 1000)
    began = time.monotonic()
    with running_door("internal", settings) as internal:

        def values() -> dict[str, float]:
            return {
                name + "".join(sorted(labels.values())): value
                for name, labels, value in scrape(internal.url)
            }

        def well() -> dict[str, float] | None:
            """Return the samples once the volume was probed and the store has answered."""
            samples = values()
            up = samples.get("vfolder_volume_uplocal"), samples.get("vfolder_store_up")
            return samples if up == (1, 1) else None

        found = wait_for(well, failure="the volume or the store is not up")
        assert found is not None
        assert 0 < found["vfolder_volume_probe_secondslocal"] < time.monotonic() - began
        assert found["vfolder_jobs_waiting"] == 0
        assert found["vfolder_bandwidth_bytes_per_secondmetered"] == 1000
        assert found["vfolder_bandwidth_sharersjobsmetered"] == 0
        assert found["vfolder_lease_age_seconds"] == 0, "nothing runs"
        assert "vfolder_queue_oldest_seconds" not in found, "nothing waits, so there is no age"
    assert JOB_BUCKETS[0] == 1
    assert JOB_BUCKETS[-1] == 3 * 86_400


def test_a_counter_file_that_is_still_empty_does_not_fail_the_scrape(
    tmp_path: Path, valkey: Valkey
) -> None:
    settings = settings_in(tmp_path, valkey.url)
    with running_door("internal", settings) as internal:
        starting = tmp_path / "metrics" / "manager" / "counter_4194304.db"
        starting.parent.mkdir(parents=True, exist_ok=True)
        starting.touch()
        answer = requests.get(f"{internal.url}/metrics", timeout=60)
    assert answer.status_code == 200, answer.text
