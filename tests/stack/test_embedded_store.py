import subprocess
import sys
from pathlib import Path

import pytest
from redis import AuthenticationError, Redis

from deploy.embedded_store import find_server, write_config
from tests.support.valkey import Valkey, running_valkey


@pytest.fixture
def own(tmp_path: Path) -> Valkey:
    return Valkey(tmp_path / "store")


def test_the_configuration_is_secret_and_states_durability(tmp_path: Path) -> None:
    path = write_config(tmp_path / "store", 1, "pw")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    text = path.read_text("utf-8")
    assert 'requirepass "pw"' in text
    assert "appendonly yes" in text
    assert "maxmemory-policy noeviction" in text


def test_a_second_write_replaces_the_first_and_stays_secret(tmp_path: Path) -> None:
    write_config(tmp_path, 1, "old")
    path = write_config(tmp_path, 2, "new")
    assert "old" not in path.read_text("utf-8")
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_one_enters_without_the_password(valkey: Valkey) -> None:
    with (
        Redis(port=valkey.port) as stranger,
        pytest.raises(AuthenticationError),
    ):
        stranger.ping()


def test_a_password_may_have_any_character(own: Valkey) -> None:
    own.password = 'a "b\\c\n#é$'
    own.start()
    try:
        with own.client() as client:
            assert client.ping()
    finally:
        own.stop()


def test_the_password_is_not_in_the_argument_list(valkey: Valkey) -> None:
    assert valkey.process is not None
    line = Path(f"/proc/{valkey.process.pid}/cmdline").read_bytes()
    assert valkey.password.encode() not in line


def test_a_killed_server_comes_back_with_what_was_written(tmp_path: Path) -> None:
    with running_valkey(tmp_path / "store") as server:
        with server.client() as client:
            for number in range(500):
                client.set(f"key:{number}", number)
        server.restart(hard=True)
        with server.client() as client:
            assert client.dbsize() == 500


def test_a_polite_end_is_status_zero_and_leaves_nothing(own: Valkey) -> None:
    own.start()
    process = own.process
    assert process is not None
    own.stop()
    assert process.returncode == 0
    assert not Path(f"/proc/{process.pid}").exists()


def test_the_server_is_a_file_that_can_be_started() -> None:
    assert find_server().is_file()


def test_the_command_runs_the_server_that_comes_with_vfolder() -> None:
    command = [sys.executable, "-m", "api.cli", "store"]
    done = subprocess.run(
        [*command, "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    own = subprocess.run(
        [find_server(), "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == own.stdout
    refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 2, "without arguments it would be the embedded store"
