"""`vfolder doctor` on real directories, on simulated arrays, and on storage that hangs."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.cli.doctor.own_scope import LOCK, SCOPE
from simulators.serving import certificate, serving
from simulators.shelf import BtrfsShelf, Shelf
from simulators.systems import SYSTEMS, WITH_QUOTA
from tests.support import preloaded
from tests.support.clinic import Begun, Clinic
from tests.support.loops import mounted, run
from tests.support.node import ROOT, wait_for
from tests.support.object_storage import ACCESS_KEY, SECRET_KEY, ObjectStorage

READ_ONLY = {"GET"}
#: Requests that sign in or out.
LOGINS = ("login", "logout", "token", "session")


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    top = tmp_path / "top"
    top.mkdir()
    return Clinic(tmp_path, top)


@pytest.fixture
def slow(clinic: Clinic) -> Clinic:
    """A volume whose calls wait as long as a file says."""
    clinic.backend, clinic.options = "faulty", {"faults": str(clinic.directory / "faults.toml")}
    return clinic


def suffer(clinic: Clinic, text: str) -> None:
    draft = clinic.directory / "draft"
    draft.write_text(text)
    draft.replace(clinic.directory / "faults.toml")


def test_nothing_changes_without_write(clinic: Clinic) -> None:
    found = clinic.checks()
    assert clinic.names == []
    assert {one["status"] for one in found.values()} == {"ok", "not available"}
    assert found["mount"]["figures"]["file_system"]
    assert "--write" in found["speed"]["text"]


def test_a_shell_completes_the_volumes(clinic: Clinic) -> None:
    file = clinic.words[-1]
    program = "from api.cli import main; main(prog_name='vfolder')"
    asked = {"_VFOLDER_COMPLETE": "bash_complete", "COMP_WORDS": "vfolder doctor si"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | asked | {"COMP_CWORD": "2", "VFOLDER_CONFIG": file},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["plain,sick"]


def test_the_forms_of_output(clinic: Clinic) -> None:
    rows = [line.split("\t") for line in clinic.text().splitlines()]
    assert rows[0][:2] == ["configuration", "ok"]
    assert yaml.safe_load(clinic.text("-o", "yaml"))["volume"] == "sick"
    assert clinic.text("-o", "table").split()[:3] == ["check", "status", "found"]
    assert "took" in clinic.text("-o", "wide").splitlines()[0]


def test_everything_made_is_measured_and_removed(clinic: Clinic) -> None:
    found = clinic.checks("--write")
    assert clinic.names == []
    assert found["speed"]["figures"]["write_mib_per_second"] > 0
    assert found["speed"]["figures"]["read_by"]
    assert found["small files"]["figures"]["made_per_second"] > 0
    assert found["removal"]["status"] == "ok"
    assert found["rights"]["figures"]["create_scope_milliseconds"] > 0


def test_a_volume_that_is_not_there(clinic: Clinic) -> None:
    clinic.top.rmdir()
    found = clinic.checks("--write", status=1)
    assert found["mount"]["status"] == "wrong"
    assert "Mount the volume" in found["mount"]["change"]
    assert found["rights"]["status"] == "not available"


@pytest.mark.parametrize("wrong", ["option", "backend"])
def test_a_configuration_that_is_wrong_is_named(clinic: Clinic, wrong: str) -> None:
    if wrong == "backend":
        clinic.backend = "floppy"
    else:
        clinic.backend, clinic.options = "netapp", {"netapp_ontap_user": "vfolder"}
    found = clinic.checks("--write", status=1)
    assert found["configuration"]["status"] == "wrong"
    assert "[volume.sick]" in found["configuration"]["change"]
    assert found["mount"]["status"] == "not available"
    assert clinic.names == []


def test_the_page_names_every_check(clinic: Clinic) -> None:
    page = (ROOT / "docs/doctor.md").read_text("utf-8").partition("| Check |")[2].partition("\n\n")
    named = re.findall(r"^\| `([a-z ]+)` \|", page[0], re.MULTILINE)
    assert list(clinic.checks("--write")) == named


def test_a_volume_that_no_one_configured(clinic: Clinic) -> None:
    words = [word if word != "sick" else "absent" for word in clinic.words]
    done = preloaded.run(words, os.environ, 120)
    assert done.returncode == 2
    assert "the volumes are: local, sick" in done.stderr


@pytest.mark.part("root")
def test_a_mount_that_takes_no_writes(clinic: Clinic) -> None:
    run("mount", "-t", "tmpfs", "-o", "ro", "none", clinic.top)
    try:
        found = clinic.checks("--write", status=1)
    finally:
        run("umount", clinic.top)
    assert "rw" in found["mount"]["change"]


# -- Storage that hangs, and runs that end early ---------------------------------------------------
def test_a_storage_that_hangs_ends_by_the_deadline(slow: Clinic) -> None:
    suffer(slow, "hang = true")
    found = slow.checks("--deadline", "1", status=1)
    assert found["mount"]["status"] == "wrong"
    assert "No answer within 1 s" in found["mount"]["text"]


def begun(clinic: Clinic, *words: str) -> Begun:
    """A run amid its changes, whose calls are slow."""
    suffer(clinic, "delay_seconds = 0.2")
    under_way = clinic.start("--write", *words)
    wait_for((clinic.top / SCOPE.directory).exists)
    return under_way


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_removes_what_it_made(slow: Clinic, number: int) -> None:
    under_way = begun(slow)
    under_way.process.send_signal(number)
    status, found = under_way.end()
    assert status == 130
    assert found["checks"][-1]["check"] == "removal"
    assert found["checks"][-1]["status"] == "ok"
    assert not slow.has_left


def test_what_a_killed_run_left_is_named_and_removed(slow: Clinic) -> None:
    process = begun(slow).process
    process.kill()
    process.wait(120)
    suffer(slow, "")
    assert slow.has_left
    found = slow.checks(status=1)
    assert found["leftovers"]["status"] == "wrong"
    assert "--write" in found["leftovers"]["change"]
    assert "Removed" in slow.checks("--write")["leftovers"]["text"]
    assert slow.names == []


def test_a_storage_that_hangs_amid_the_changes(slow: Clinic) -> None:
    under_way = begun(slow, "--deadline", "3")
    suffer(slow, "hang = true")
    status, found = under_way.end()
    assert status == 1
    assert "hangs" in found["checks"][-1]["text"]
    suffer(slow, "")
    assert "Removed" in slow.checks("--write")["leftovers"]["text"]


def test_another_run_is_waited_for_and_not_disturbed(clinic: Clinic) -> None:
    (clinic.top / ".vfolder").mkdir()
    (clinic.top / SCOPE.directory).mkdir()
    with (clinic.top / ".vfolder" / LOCK).open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)  # as another process of this command
        found = clinic.checks("--write", status=1)
    assert "Another run" in found["leftovers"]["text"]
    assert found["rights"]["status"] == "not available"
    assert (clinic.top / SCOPE.directory).is_dir()


# -- Arrays ----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    make = ["mkfs.btrfs", "-q", "-m", "single", "-d", "single"]
    with mounted(tmp_path_factory.mktemp("doctor"), make, size_bytes=1 << 30) as top:
        yield top


@contextmanager
def array(
    directory: Path, name: str, shelf: Shelf, **settings: Any
) -> Iterator[tuple[Clinic, Any]]:
    simulator = SYSTEMS[name].simulate(shelf, **settings)
    with serving(simulator) as server:
        options = {**SYSTEMS[name].options(server.url), **simulator.further_options}
        options["ca_bundle"] = str(certificate()[0])
        yield Clinic(directory, shelf.top, name, options), server


@pytest.mark.part("root")
@pytest.mark.part("btrfs")
@pytest.mark.parametrize(
    ("name", "settings"), [*((name, {}) for name in SYSTEMS), ("gpfs", {"native": True})]
)
def test_every_array_with_write(
    name: str, settings: dict[str, Any], btrfs: Path, tmp_path: Path
) -> None:
    top = btrfs / "-".join((name, *settings))
    top.mkdir()
    with array(tmp_path, name, BtrfsShelf(top), **settings) as (clinic, _):
        found = clinic.checks("--write")
        assert not clinic.has_left
    if name in WITH_QUOTA:
        assert found["quota"]["status"] == "ok"
        assert found["quota"]["figures"]["past_limit_bytes"] <= 1 << 20
    assert found["credentials"]["figures"]["median_milliseconds"] > 0
    assert found["removal"]["status"] == "ok"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in SYSTEMS),
        ("netapp", {"quota": "off"}),
        ("gpfs", {"native": True}),
    ],
)
def test_every_array_is_only_read_without_write(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    top = tmp_path / "array"
    top.mkdir()
    with array(tmp_path, name, Shelf(top), **settings) as (clinic, server):
        before = clinic.names
        found = clinic.checks()
        assert clinic.names == before
        asked = [one for one in server.journal if one.method not in READ_ONLY]
        assert not [one for one in asked if not any(word in one.path for word in LOGINS)]
    assert found["credentials"]["status"] == "ok"


def test_a_wrong_password_is_named_and_not_shown(tmp_path: Path) -> None:
    top = tmp_path / "array"
    top.mkdir()
    with array(tmp_path, "netapp", Shelf(top)) as (clinic, _):
        clinic.options[SYSTEMS["netapp"].secret_option] = "a-wrong-passw0rd"
        text = clinic.text("--json", status=1)
    found = {one["check"]: one for one in json.loads(text)["checks"]}
    assert found["credentials"]["status"] == "wrong"
    assert "login" in found["credentials"]["change"]
    assert "a-wrong-passw0rd" not in text


def test_limits_that_stop_no_writer(tmp_path: Path) -> None:
    top = tmp_path / "array"
    top.mkdir()
    with array(tmp_path, "weka", Shelf(top)) as (clinic, _):
        found = clinic.checks("--write", status=1)
        assert not clinic.has_left
    assert "Nothing stopped a writer" in found["quota"]["text"]
    assert found["quota"]["change"]


def test_an_array_that_takes_connections_and_never_answers(tmp_path: Path) -> None:
    top = tmp_path / "array"
    top.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        options = {**SYSTEMS["vast"].options(url), "ca_bundle": str(certificate()[0])}
        found = Clinic(tmp_path, top, "vast", options).checks("--deadline", "4", status=1)
    assert [one for one in found.values() if one["status"] == "wrong"]
    assert "hangs" in " ".join(one["text"] for one in found.values())
    assert os.listdir(top) == []


@pytest.mark.part("seaweedfs")
def test_a_bucket(clinic: Clinic, object_storage: ObjectStorage) -> None:
    bucket = object_storage.new_bucket()
    clinic.backend, clinic.options = (
        "s3",
        {
            "endpoint": object_storage.url,
            "bucket": bucket.name,
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
        },
    )
    found = clinic.checks("--write")
    assert found["speed"]["figures"]["read_mib_per_second"] > 0
    assert found["small files"]["figures"]["made_per_second"] > 0
    assert found["clone"]["status"] == "not available"
    assert clinic.names == []
    assert not bucket.page("").objects
    clinic.options["secret_key"] = "wrong"
    assert "login" in clinic.checks(status=1)["volume"]["change"]
