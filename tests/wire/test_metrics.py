"""Every request is counted, over all processes and doors of a node, under labels without end."""

import re
from collections.abc import Iterator

import pytest
import requests

from core.settings import Settings
from tests.support.doors import RunningDoor, running_door

SAMPLE = re.compile(r"^backendai_api_request_count_total\{(.*)\} ([0-9.e+]+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def internal(settings: Settings) -> Iterator[RunningDoor]:
    with running_door("internal", settings) as door:
        yield door


def counts(internal: RunningDoor) -> dict[tuple[str, ...], float]:
    found = {}
    for labels, value in SAMPLE.findall(internal.send("GET", "/metrics").text):
        pairs = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        assert set(pairs) == {
            "method",
            "endpoint",
            "domain",
            "operation",
            "error_detail",
            "status_code",
        }
        code = f"{pairs['domain']}_{pairs['operation']}_{pairs['error_detail']}"
        key = (pairs["method"], pairs["endpoint"], pairs["status_code"], code)
        found[key] = float(value)
    return found


@pytest.mark.parametrize(
    ("method", "path", "body", "key"),
    [
        ("GET", "/volumes", None, ("GET", "/volumes", "200", "__")),
        (
            "GET",
            "/nothing/x",
            None,
            ("GET", "unmatched", "404", "backendai_generic_internal-error"),
        ),
        ("PUT", "/volumes", None, ("PUT", "unmatched", "405", "backendai_generic_internal-error")),
        ("GET", "/v1/jobs/x", None, ("GET", "/v1/jobs/{job_id}", "404", "bgtask_read_not-found")),
        (
            "GET",
            "/folder/fs-usage",
            {"volume": "nowhere"},
            ("GET", "/folder/fs-usage", "400", "storage_access_invalid-parameters"),
        ),
    ],
)
def test_requests_are_counted(  # noqa: PLR0917 - the table's columns
    manager: RunningDoor,
    internal: RunningDoor,
    method: str,
    path: str,
    body: object,
    key: tuple[str, ...],
) -> None:
    before = counts(internal).get(key, 0.0)
    for _ in range(3):
        manager.send(method, path, json=body)
    assert counts(internal)[key] == before + 3


def test_strangers_are_not_counted(manager: RunningDoor, internal: RunningDoor) -> None:
    before = counts(internal)
    assert requests.get(f"{manager.url}/volumes", timeout=10).status_code == 403
    assert counts(internal) == before


def test_durations_have_the_buckets_of_dashboards(
    manager: RunningDoor, internal: RunningDoor
) -> None:
    manager.send("GET", "/volumes")
    text = internal.send("GET", "/metrics").text
    bounds = re.findall(
        r'duration_sec_bucket\{[^}]*endpoint="/volumes"[^}]*le="([^"]+)"[^}]*\}', text
    )
    assert bounds[:10] == [
        "0.001",
        "0.01",
        "0.1",
        "0.5",
        "1.0",
        "2.0",
        "5.0",
        "10.0",
        "30.0",
        "+Inf",
    ]
