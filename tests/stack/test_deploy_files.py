"""The files for containers, systemd and nginx agree with the Procfile and the doors."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.process import MISCONFIGURED
from core.settings import load
from deploy import procfile
from tests.support.confined import confined
from tests.support.node import ROOT

COMMANDS = procfile.read()


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "compose.yml").read_text("utf-8"))
    return document


def test_compose_runs_the_lines_of_the_procfile() -> None:
    services = compose()["services"]
    lines = {name: line[1:] for name, line in COMMANDS.items() if name != procfile.STORE}
    assert {name: one["command"][1:] for name, one in services.items() if name != "store"} == lines
    assert all(one["command"][0] == "python" for name, one in services.items() if name != "store")


def test_compose_publishes_on_loopback_only() -> None:
    ports = [port for one in compose()["services"].values() for port in one.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_container_configuration_loads_and_is_private(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    script = shutil.copy(ROOT / "deploy" / "compose_config.sh", tmp_path / "deploy")
    subprocess.run([script], check=True, capture_output=True)
    file = tmp_path / "compose" / "storage-proxy.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    settings = load(file, {})
    assert not settings.store_is_embedded
    assert settings.vfolder.flower.password
    store = (tmp_path / "compose" / "store.conf").read_text("utf-8")
    password = re.search(r"redis://:([^@]+)@store:6379", settings.redis_url)
    assert password is not None
    assert f'requirepass "{password[1]}"' in store
    before = file.read_bytes()
    subprocess.run([script], check=True, capture_output=True)
    assert file.read_bytes() == before


UNITS = ["vfolder@.service", "vfolder-aside@.service", "vfolder-worker@.service"]


@pytest.mark.parametrize("name", UNITS)
def test_units_start_modules_that_exist_and_stop_them_politely(name: str) -> None:
    text = (ROOT / "deploy" / "systemd" / name).read_text("utf-8")
    found = re.search(r"^ExecStart=\S+ -m (\S+) %i$", text, re.MULTILINE)
    assert found is not None
    assert importlib.util.find_spec(found[1]) is not None
    assert found[1] in {line[2] for line in COMMANDS.values()}
    assert "KillMode=mixed" in text
    assert f"\nRestartPreventExitStatus={MISCONFIGURED}\n" in text


def test_only_the_unit_of_the_hands_runs_as_root() -> None:
    texts = {name: (ROOT / "deploy" / "systemd" / name).read_text("utf-8") for name in UNITS}
    named = {name: re.search(r"^User=(\S+)$", text, re.MULTILINE) for name, text in texts.items()}
    assert [name for name, user in named.items() if user is None] == ["vfolder-worker@.service"]
    users = {user[1] for user in named.values() if user}
    made = (ROOT / "deploy" / "systemd" / "vfolder.sysusers").read_text("utf-8")
    assert users == set(re.findall(r"^u (\S+) ", made, re.MULTILINE))
    assert all("\nCapabilityBoundingSet=\n" in texts[name] for name, user in named.items() if user)
    state = re.search(r"STATE_DIR=(\S+)", texts["vfolder@.service"])
    assert state is not None
    assert f"d {state[1]} " in (ROOT / "deploy/systemd/vfolder.tmpfiles").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.part("systemd")
@pytest.mark.part("btrfs")
@pytest.mark.part("root")
@pytest.mark.parametrize(
    "proved",
    [
        "tests/backends/tree/test_fidelity.py -k not(without_rights)",
        "tests/contract/test_scopes.py -k btrfs",
        "tests/contract/test_snapshots.py -k btrfs",
    ],
)
def test_the_rights_of_the_hands_suffice(proved: str) -> None:
    """The tests of attributes, limits and snapshots pass with what the unit permits."""
    command = [
        *confined("vfolder-worker@.service"),
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        [*command, *proved.split()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ passed", done.stdout)


def test_the_image_copies_files_that_exist() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    copied = re.findall(r"^COPY (?!--from=)(\S+) ", text, re.MULTILINE)
    assert copied
    for source in copied:
        assert (ROOT / source).exists()


def test_the_image_takes_all_that_its_first_stage_made() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    built, _, final = text.rpartition("\nFROM ")
    taken = re.findall(r"^COPY --from=build (\S+) (\S+)$", final, re.MULTILINE)
    assert all(source == target for source, target in taken), "paths in the environment stay right"
    made = re.findall(r"(?:-m venv|WORKDIR) (\S+)", built)
    assert sorted(source for source, _ in taken) == sorted(made)
