"""Each process that shares the tests collects the same ones, under the same names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def collected(seed: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:randomly", "tests"],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTEST_ADDOPTS": ""},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return {line for line in done.stdout.splitlines() if "::" in line}


@pytest.mark.skipif("PYTEST_XDIST_WORKER" in os.environ, reason="processes compare theirs")
def test_two_processes_collect_the_same_tests() -> None:
    """A name with a random number, a present moment, or in the order of a set differs."""
    # One after the other: the second reads what the first compiled.
    one, other = (collected(seed) for seed in ("1", "2"))
    assert len(one) > 1000
    assert sorted(one ^ other) == []
