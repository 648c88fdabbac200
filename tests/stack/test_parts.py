"""A missing part is a skip that is named at the end, and an error with CI=true."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.node import ROOT

TEST = """
import pytest

@pytest.mark.part("curl")
def test_needs_curl():
    pass

@pytest.mark.part("unheard-of")
def test_needs_nothing_known():
    pass
"""


def run(
    directory: Path, name: str, *more: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    file = directory / "test_sample.py"
    file.write_text(TEST, "utf-8")
    kept = {key: value for key, value in os.environ.items() if key != "CI"}
    arguments = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, f"{file}::{name}", *more],
        cwd=ROOT,
        env=kept | {"PATH": "/nowhere"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_missing_part_is_skipped_and_named(tmp_path: Path, processes: str) -> None:
    result = run(tmp_path, "test_needs_curl", "-n", processes)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 skipped" in result.stdout
    assert "parts not installed here" in result.stdout
    assert "curl: 1 skipped" in result.stdout
    assert "`make parts` installs them" in result.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test_needs_curl", "the part 'curl' is missing and CI=true"),
        ("test_needs_nothing_known", "no part is called 'unheard-of'"),
    ],
)
def test_with_ci_a_missing_part_is_an_error(tmp_path: Path, name: str, words: str) -> None:
    result = run(tmp_path, name, CI="true")
    assert result.returncode == 1
    assert words in result.stdout
