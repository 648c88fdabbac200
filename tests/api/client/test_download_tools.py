"""Downloads by people's tools: over several connections, and continued after a cut."""

import io
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
import requests

from tests.api.client.conftest import Folder

DATA = os.urandom(12 << 20)
#: How much is there already when a tool continues (bytes).
HERE = 5_000_000
#: Each takes an address, and saves to the file `got`.
WHOLE = {
    "aria2": ["aria2c", "-q", "--no-conf", "--all-proxy=", "-x4", "-s4", "-k1M", "-o", "got"],
    "axel": ["axel", "-q", "-n", "4", "-o", "got"],
    "curl": ["curl", "-sS", "--noproxy", "*", "-f", "-o", "got"],
    "rclone": ["rclone", "--config", "/dev/null", "copyurl"],
    "wget": ["wget", "-q", "--no-proxy", "--no-config", "-O", "got"],
}
CONTINUED = {
    "aria2": [*WHOLE["aria2"], "-c"],
    "curl": [*WHOLE["curl"], "-C", "-"],
    "wget": ["wget", "-q", "--no-proxy", "--no-config", "-c", "-O", "got"],
}


def parts(tools: dict[str, list[str]]) -> list[object]:
    return [pytest.param(tool, marks=pytest.mark.part(tool)) for tool in tools]


def run(command: list[str], url: str, directory: Path) -> bytes:
    """Return what a tool saved; rclone names its target behind the address."""
    behind = ["got"] if command[0] == "rclone" else []
    done = subprocess.run(
        [*command, url, *behind], cwd=directory, check=False, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return (directory / "got").read_bytes()


@pytest.mark.parametrize("tool", parts(WHOLE))
def test_a_file(folder: Folder, tmp_path: Path, tool: str) -> None:
    folder.write("big ü.bin", DATA)
    assert run(WHOLE[tool], folder.download("big ü.bin"), tmp_path) == DATA


@pytest.mark.parametrize("tool", parts(CONTINUED))
def test_a_file_that_was_cut(folder: Folder, tmp_path: Path, tool: str) -> None:
    folder.write("big.bin", DATA)
    (tmp_path / "got").write_bytes(DATA[:HERE])
    assert run(CONTINUED[tool], folder.download("big.bin"), tmp_path) == DATA


@pytest.mark.parametrize("form", ["zip", "tar"])
@pytest.mark.parametrize("tool", parts(WHOLE))
def test_an_archive(folder: Folder, tmp_path: Path, tool: str, form: str) -> None:
    """Its parts come from several requests, each of which makes the archive again."""
    url = many(folder, form)
    assert run(WHOLE[tool], url, tmp_path) == requests.get(url, timeout=60).content


@pytest.mark.parametrize("tool", parts(CONTINUED))
def test_an_archive_that_was_cut(folder: Folder, tmp_path: Path, tool: str) -> None:
    url = many(folder, "zip")
    whole = requests.get(url, timeout=60).content
    (tmp_path / "got").write_bytes(whole[:HERE])
    data = run(CONTINUED[tool], url, tmp_path)
    assert data == whole
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None


def many(folder: Folder, form: str) -> str:
    for number in range(40):
        folder.write(f"dir/small{number}", DATA[number * 1000 : number * 2000])
    folder.write("dir/large", DATA)
    return folder.archive(["dir"]) + f"&format={form}"
