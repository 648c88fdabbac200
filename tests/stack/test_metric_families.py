"""The metric families that dashboards of the reference read: names, types, labels, buckets."""

import dataclasses
from uuid import uuid4

import pytest
import requests
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.node import Node, wait_for
from tests.support.released import manager
from tests.support.released.side import ReleasedManager

_REQUEST = {"method", "endpoint", "domain", "operation", "error_detail", "status_code"}
_ERROR = {"domain", "operation", "error_detail"}
_SECONDS = (0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 30)
_RATES = ("iops", "throughput_bytes", "latency_usec")
#: Family as parsed: type, labels, bounds of its buckets (seconds).
FAMILIES: dict[str, tuple[str, set[str], tuple[float, ...]]] = {
    "backendai_api_request_count": ("counter", _REQUEST, ()),
    "backendai_api_request_duration_sec": ("histogram", _REQUEST, _SECONDS),
    "backendai_bgtask_count": ("gauge", {"task_name"}, ()),
    "backendai_bgtask_done_count": ("counter", {"task_name", "status", *_ERROR}, ()),
    "backendai_bgtask_processing_time_sec": (
        "histogram",
        {"task_name", "status", *_ERROR},
        (0.1, 1, 10, 30, 60, 300, 600),
    ),
    "backendai_storage_volume_stats_observe": ("counter", {"volume", "status"}, ()),
    "backendai_storage_volume_stats_observe_duration_seconds": (
        "histogram",
        {"volume"},
        (0.1, 0.5, 1, 2, 5, 10, 30),
    ),
    "backendai_storage_volume_metric_last_updated_timestamp": ("gauge", {"volume"}, ()),
} | {
    f"backendai_storage_volume_{rate}_{direction}": ("gauge", {"volume"}, ())
    for rate in _RATES
    for direction in ("read", "write")
}


def scrape(stack: Node) -> dict[str, Metric]:
    url = f"http://{stack.settings.api.manager.internal_address}/metrics"
    text = requests.get(url, timeout=60).text
    return {one.name: one for one in text_string_to_metric_families(text)}


def labels_of(family: Metric) -> set[frozenset[str]]:
    return {frozenset(sample.labels) - {"le"} for sample in family.samples}


@pytest.fixture
def deleted(stack: Node, side: ReleasedManager) -> None:
    """The node has answered requests at both doors, and purged a folder."""
    manager.delete_folder(side)
    manager.delete_folder(dataclasses.replace(side, volume="gone", vfid=another()), made=False)
    requests.get(f"http://{stack.settings.api.client.address}/download", timeout=60)


def another() -> str:
    return f"user:{uuid4()}/{uuid4().hex}"


@pytest.mark.usefixtures("deleted")
def test_the_families_of_the_reference(stack: Node) -> None:
    def whole() -> dict[str, Metric]:
        found = scrape(stack)
        observed = found.get("backendai_storage_volume_stats_observe_duration_seconds")
        return found if set(FAMILIES) <= set(found) and observed and observed.samples else {}

    found = wait_for(whole, failure=f"missing: {set(FAMILIES) - set(scrape(stack))}")
    for name, (kind, labels, bounds) in FAMILIES.items():
        family = found[name]
        assert family.type == kind, name
        assert labels_of(family) <= {frozenset(labels)}, name
        edges = {sample.labels["le"] for sample in family.samples if "le" in sample.labels}
        assert {float(edge) for edge in edges} == ({*bounds, float("inf")} if bounds else set())


@pytest.mark.usefixtures("deleted")
def test_one_counter_counts_the_requests_of_both_doors(stack: Node) -> None:
    """The exporter of Flask counts under the reference's name, and exports nothing of its own."""

    def endpoints() -> set[str]:
        family = scrape(stack)["backendai_api_request_count"]
        return {sample.labels["endpoint"] for sample in family.samples}

    wait_for(lambda: endpoints() >= {"/folder/delete", "/download"})
    assert not [name for name in scrape(stack) if name.startswith("flask_")]


@pytest.mark.usefixtures("deleted")
def test_long_operations_are_counted_as_tasks(stack: Node) -> None:
    """Under the names of the reference, with the parts of the error's code."""

    def ended() -> dict[tuple[str, ...], float]:
        family = scrape(stack)["backendai_bgtask_done_count"]
        order = ("task_name", "status", "domain", "operation", "error_detail")
        return {
            tuple(sample.labels[name] for name in order): sample.value for sample in family.samples
        }

    wanted = {
        ("delete_vfolder", "success", "", "", ""),
        ("delete_vfolder", "failure", "storage", "access", "invalid-parameters"),
    }
    wait_for(lambda: wanted <= set(ended()))
