"""Boots a kernel that has project quota once, and holds the contract on its XFS and ext4."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1800


@pytest.mark.part("user-mode-linux")
@pytest.mark.part("xfs")
@pytest.mark.part("strace")
@pytest.mark.part("compiler")
@pytest.mark.part("nfs")
@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 30)
def test_xfs_and_ext4_under_a_kernel_with_project_quota(tmp_path: Path) -> None:
    disks, temporary = tmp_path / "disks", tmp_path / "inside"
    disks.mkdir()
    inner = [
        *(sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider"),
        *("--timeout=900", f"--basetemp={temporary}", "tests/contract", "tests/kernel"),
    ]
    ended = subprocess.run(
        [ROOT / "tests/support/uml.sh", disks, *inner],
        cwd=ROOT,
        env={**os.environ, "UML_SECONDS": str(SECONDS), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    output = ended.stdout + ended.stderr
    assert ended.returncode == 0, output
    assert " passed" in output
    assert "error" not in output.splitlines()[-1]
