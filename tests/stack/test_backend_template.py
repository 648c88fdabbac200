"""The template of a backend: installed as a package, held to the contract, served by a node."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
import requests

from backends.base import PerformanceMetric
from backends.fs import marker
from deploy.demo.http import Doors
from tests.support import preloaded
from tests.support.doors import settings_in
from tests.support.node import ROOT, Node, processes, running_node, wait_for

TEMPLATE = ROOT / "examples" / "backend-template"
RATES = PerformanceMetric(120, 40, 3 << 20, 1 << 20, 210.5, 840.0)
#: The tests last longer than a status file stays fresh; this one stays fresh.
FAR_FUTURE = 4_102_444_800


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of packages that holds the template, as pip installs it."""
    top = tmp_path_factory.mktemp("template")
    source = shutil.copytree(TEMPLATE, top / "source")  # setuptools builds inside the source
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run(
        [*pip, "--no-deps", "--no-build-isolation", "--no-index"],
        [f"--target={top / 'packages'}", str(source)],
    )
    return top / "packages"


def run(*words: list[str], **environment: str) -> str:
    ended = ran(*words, directory=ROOT, **environment)
    output = ended.stdout + ended.stderr
    assert ended.returncode == 0, output
    return output


def ran(
    *words: list[str], directory: Path, **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [word for group in words for word in group],
        cwd=directory,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


#: What the project's source has beside its packages, and what was built there.
NOT_SOURCE = (".*", "tests", "var", "node_modules", "build", "*.egg-info", "*.so", "__pycache__")


@pytest.fixture(scope="module")
def product(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of packages with vfolder itself and the template: no checkout."""
    top = tmp_path_factory.mktemp("product")
    ignored = shutil.ignore_patterns(*NOT_SOURCE)
    source = shutil.copytree(ROOT, top / "source", ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run(
        [*pip, "--no-deps", "--no-build-isolation", "--no-index"],
        [f"--target={top / 'packages'}", str(source)],
    )
    shutil.rmtree(source)
    shutil.copytree(installed, top / "packages", dirs_exist_ok=True)
    return top / "packages"


def contract(packages: Path, directory: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run `vfolder contract` of installed packages, away from the checkout."""
    command = [sys.executable, "-P", str(packages / "bin" / "vfolder"), "contract", *words]
    return ran(command, directory=directory, PYTHONPATH=str(packages))


def volume(directory: Path) -> str:
    """The configuration of a volume `shelf` that the template serves."""
    top, status = directory / "shelf", directory / "status.json"
    top.mkdir()
    status.write_bytes(msgspec.json.encode(RATES))
    os.utime(status, (FAR_FUTURE, FAR_FUTURE))
    return f"""
[volume.shelf]
backend = "template"
path = "{top}"
[volume.shelf.options]
status_file = "{status}"
"""


def pytest_of(installed: Path, *arguments: str) -> str:
    """Run pytest with a temporary directory of its own: others' runs are not cleaned up by it."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command.append(f"--basetemp={installed.parent / 'of-pytest'}")
    return run(command, list(arguments), PYTHONPATH=str(installed))


def test_its_own_tests_pass(installed: Path) -> None:
    assert " passed" in pytest_of(installed, str(TEMPLATE / "tests"))


@pytest.mark.slow
def test_it_passes_the_contract_without_a_checkout(product: Path, tmp_path: Path) -> None:
    settings_in(tmp_path, more=volume(tmp_path))
    ended = contract(product, tmp_path, "shelf")
    output = ended.stdout + ended.stderr
    assert ended.returncode == 0, output
    assert "Volume shelf: the contract is kept." in output
    assert "not run: a backend without HasQuota" in output
    assert str(ROOT) not in output
    assert set(os.listdir(tmp_path / "shelf")) <= {".vfolder", marker.NAME}


#: A backend that calls a vfolder made, and makes none.
BROKEN = """
from backends.mounted import PosixBackend


class Broken(PosixBackend):
    name = "broken"

    def create_vfolder(self, vfolder, mode=0o755):
        pass
"""
ENTRY_POINT = "[vfolder.backends]\nbroken = broken_backend:Broken\n"


@pytest.mark.slow
def test_a_backend_that_breaks_the_contract_is_found_out(product: Path, tmp_path: Path) -> None:
    (product / "broken_backend.py").write_text(BROKEN)
    described = product / "broken_backend-1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-backend\nVersion: 1\n")
    (described / "entry_points.txt").write_text(ENTRY_POINT)
    (tmp_path / "top").mkdir()
    settings_in(tmp_path, more='[volume.bad]\nbackend = "broken"\npath = "top"\n')
    ended = contract(product, tmp_path, "bad", "-k", "vfolder_needs_its_scope")
    output = ended.stdout + ended.stderr
    assert ended.returncode == 1, output
    assert "the contract is broken" in output
    assert "test_a_vfolder_needs_its_scope_and_is_made_once" in output


def test_mistakes_before_the_suite_are_one_sentence(tmp_path: Path) -> None:
    settings_in(tmp_path, more='[volume.odd]\nbackend = "absent"\npath = "odd"\n')
    config = str(tmp_path / "storage-proxy.toml")
    for words, said in (
        (["attic", "--config", config], "There is no [volume.attic]; the volumes are: local, odd."),
        (["odd", "--config", config], "No backend is called 'absent'"),
        (["odd", "--config", "none.toml"], "Cannot read"),
    ):
        ended = preloaded.run(["contract", *words], os.environ, 120)
        assert ended.returncode == 1
        assert ended.stdout == ""
        assert ended.stderr.count("\n") == 1
        assert said in ended.stderr


def test_a_node_serves_it(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(installed))
    more = volume(tmp_path) + "[vfolder.worker]\nconcurrency = 2\ntree-processes = 1\n"
    with running_node(tmp_path, more, processes("manager", "client", "worker")) as node:
        doors = Doors(node.settings)
        assert "metric" in capabilities(doors)
        source, target = (f"user:{uuid4()}/{uuid4().hex}" for _ in range(2))
        for vfolder in (source, target):
            scope = vfolder.partition("/")[0]
            doors.call("POST", "/quota-scope", volume="shelf", qsid=scope)
        doors.call("POST", "/folder/create", volume="shelf", vfid=source)
        file = tmp_path / "file.bin"
        file.write_bytes(os.urandom(300_000))
        upload(node, doors, source, file)
        job(doors, verb="clone", source=source, target=target)
        job(doors, verb="delete", vfolder=source)
        assert not doors.exists("shelf", source)
        mount = doors.call("GET", "/folder/mount", volume="shelf", vfid=target)["path"]
        assert Path(mount, "file.bin").read_bytes() == file.read_bytes()
        rates = doors.call("GET", "/volume/performance-metric", volume="shelf")
        assert rates["metric"]["iops_read"] == RATES.iops_read


def capabilities(doors: Doors) -> list[str]:
    volumes = doors.call("GET", "/volumes")["volumes"]
    names: list[str] = next(one["capabilities"] for one in volumes if one["name"] == "shelf")
    return names


def upload(node: Node, doors: Doors, vfolder: str, file: Path) -> None:
    ticket = doors.call(
        "POST",
        "/folder/file/upload",
        volume="shelf",
        vfid=vfolder,
        relpath=file.name,
        size=file.stat().st_size,
    )
    sent = requests.patch(
        f"http://{node.settings.api.client.address}/upload",
        params={"token": ticket["token"]},
        headers={
            "Tus-Resumable": "1.0.0",
            "Upload-Offset": "0",
            "Content-Type": "application/offset+octet-stream",
        },
        data=file.read_bytes(),
        timeout=60,
    )
    assert sent.status_code == 204, sent.text


def job(doors: Doors, **request: str) -> None:
    submitted = doors.call("POST", "/v1/jobs", volume="shelf", **request)["id"]

    def ended() -> bool:
        return bool(doors.call("GET", f"/v1/jobs/{submitted}")["done"])

    wait_for(ended, 120)
    assert doors.call("GET", f"/v1/jobs/{submitted}")["state"] == "succeeded"
