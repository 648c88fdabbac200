"""A site runs the contract suite on a volume of its own, from its own configuration."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support import preloaded
from tests.support.loops import mounted


def config_of(directory: Path, volume: str) -> Path:
    """A complete configuration with one more table, that of a volume."""
    config = directory / "storage-proxy.toml"
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
{volume}
""",
    )
    return config


def suite(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    words = ["pytest", "-q", "-p", "no:cacheprovider", "tests/contract", *arguments]
    return preloaded.run(words, environment, 600)


def usage_error(*arguments: str) -> str:
    """The one line that the suite prints when its options are wrong."""
    ended = suite(*arguments)
    assert ended.returncode == pytest.ExitCode.USAGE_ERROR, ended.stdout + ended.stderr
    assert ended.stdout.strip() == ""
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1, ended.stderr
    return lines[0]


@pytest.mark.part("btrfs")
def test_a_site_runs_it_on_its_volume(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", ["mkfs.btrfs", "-q"], size_bytes=512 << 20) as top:
        other = top / "0123456789abcdef0123456789abcdef"
        other.mkdir()
        (other / "kept").write_bytes(b"kept")
        config = config_of(tmp_path, f'[volume.fast]\nbackend = "btrfs"\npath = "{top}"')
        ended = suite(
            *("--volume", "fast", "--config", f"{config}"),
            *("-k", "not deaths and not limit_is_rounded"),
        )
        output = ended.stdout + ended.stderr
        assert ended.returncode == 0, output
        assert " passed" in output
        assert "failed" not in output
        assert sorted(os.listdir(top)) == [".vfolder", other.name]
        assert (other / "kept").read_bytes() == b"kept"


def test_an_option_without_the_other_is_one_error(tmp_path: Path) -> None:
    assert "--volume needs --config FILE" in usage_error("--volume", "shelf")
    config = config_of(tmp_path, f'[volume.shelf]\nbackend = "vfs"\npath = "{tmp_path}"')
    assert "--config needs --volume NAME" in usage_error("--config", f"{config}")


def test_an_unknown_volume_is_one_error(tmp_path: Path) -> None:
    config = config_of(tmp_path, f'[volume.shelf]\nbackend = "vfs"\npath = "{tmp_path}"')
    line = usage_error("--volume", "attic", "--config", f"{config}")
    assert f"--config {config}: There is no [volume.attic]; the volumes are: shelf." in line


def test_an_incomplete_configuration_is_one_error(tmp_path: Path) -> None:
    config = tmp_path / "volume-only.toml"
    config.write_text(f'[volume.shelf]\nbackend = "vfs"\npath = "{tmp_path}"\n')
    line = usage_error("--volume", "shelf", "--config", f"{config}")
    assert f"--config {config}: " in line
    assert "missing required field" in line


def test_a_missing_file_is_one_error(tmp_path: Path) -> None:
    config = tmp_path / "absent.toml"
    line = usage_error("--volume", "shelf", "--config", f"{config}")
    assert f"Cannot read {config}" in line


def test_an_unknown_backend_is_one_error(tmp_path: Path) -> None:
    config = config_of(tmp_path, f'[volume.shelf]\nbackend = "absent"\npath = "{tmp_path}"')
    line = usage_error("--volume", "shelf", "--config", f"{config}")
    assert "No backend is called 'absent'" in line
