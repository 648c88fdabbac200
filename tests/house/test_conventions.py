"""The page of conventions: every row is there, and everything that it names exists."""

import re
from pathlib import Path

import pytest
from prometheus_client import Histogram
from prometheus_client.metrics import MetricWrapperBase

from core.telemetry import metrics

ROOT = Path(__file__).resolve().parents[2]
ROWS = re.findall(
    r"^\| (\d+) \| (.+) \|$", (ROOT / "docs/conventions.md").read_text(), re.MULTILINE
)
COUNT = 47
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`")
CODE = re.compile(r"`((?:api|backends|core|deploy|workers)/[\w./]*)`")
#: Every label has few values, which no caller chooses.
LABELS = {
    *("backend", "code", "direction", "kind", "lane", "method", "node", "outcome", "percent"),
    *("state", "verb", "volume", "status", "task_name"),
    *("domain", "endpoint", "error_detail", "operation", "status_code"),
}


def test_every_convention_has_its_row() -> None:
    assert [int(number) for number, _ in ROWS] == list(range(1, COUNT + 1))


@pytest.mark.parametrize(("number", "row"), ROWS, ids=[number for number, _ in ROWS])
def test_a_row_names_what_exists(number: str, row: str) -> None:
    tests = TEST.findall(row)
    assert tests, number
    for path, name in tests:
        assert f"def {name}" in (ROOT / path).read_text("utf-8"), f"{path}::{name}"
    for path in CODE.findall(row):
        assert (ROOT / path).exists(), path


def test_labels_are_from_closed_sets() -> None:
    families = [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]
    assert any(isinstance(one, Histogram) for one in families)
    assert {label for one in families for label in one._labelnames} <= LABELS
