"""Each process that shares the tests collects the same ones, under the same names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif("PYTEST_XDIST_WORKER" in os.environ, reason="processes compare theirs")
def test_two_processes_collect_the_same_tests() -> None:
    """A name with a random number, a present moment, or in the order of a set differs."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:randomly", "tests"],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTEST_ADDOPTS": ""},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    one, other = (
        {line for line in process.communicate()[0].splitlines() if "::" in line}
        for process in processes
    )
    assert len(one) > 1000
    assert sorted(one ^ other) == []
