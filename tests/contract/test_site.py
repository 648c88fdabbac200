"""A site runs the contract suite on a volume of its own, from its own configuration."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.loops import mounted

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.part("btrfs")
def test_a_site_runs_it_on_its_volume(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", ["mkfs.btrfs", "-q"], size_bytes=512 << 20) as top:
        other = top / "0123456789abcdef0123456789abcdef"
        other.mkdir()
        (other / "kept").write_bytes(b"kept")
        config = tmp_path / "storage-proxy.toml"
        config.write_text(
            f"""
[storage-proxy]
node-id = "node1"
secret = "a secret of the site's own, long enough"
session-expire = "1d"
[api.client]
service-addr = "127.0.0.1:6021"
[api.manager]
service-addr = "127.0.0.1:6022"
internal-addr = "127.0.0.1:16023"
secret = "another secret of the site's own"
[volume.fast]
backend = "btrfs"
path = "{top}"
""",
        )
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
                *("tests/contract", "--volume", "fast", "--config", f"{config}"),
                *("-k", "not deaths and not limit_is_rounded"),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        output = ended.stdout + ended.stderr
        assert ended.returncode == 0, output
        assert " passed" in output
        assert "failed" not in output
        assert sorted(os.listdir(top)) == [".vfolder", other.name]
        assert (other / "kept").read_bytes() == b"kept"
