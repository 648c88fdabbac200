"""The names under which people's tools save a download: those of the file, or safe ones."""

import subprocess
from pathlib import Path

import pytest

from tests.api.client.conftest import Folder

DATA = b"content of a file"
#: Each name, and the fallback that a tool shows which does not read `filename*` (RFC 8187).
NAMES = {
    "plain.txt": "plain.txt",
    "with space.txt": "with space.txt",
    'quoted".txt': "quoted_.txt",
    "back\\slash.txt": "back_slash.txt",
    '"all\\".txt': "_all__.txt",
    "semi;colon.txt": "semi;colon.txt",
    "apo'strophe.txt": "apo'strophe.txt",
    "100%41.txt": "100_41.txt",
    "ünï.txt": "_n_.txt",
    "new\nline.txt": "new_line.txt",
}
#: What a tool makes of `filename*` by a rule of its own.
OWN_RULES = {
    ("wget", "100%41.txt"): "100A.txt",  # decodes twice
    ("wget", "new\nline.txt"): "new%0Aline.txt",
    ("aria2", "back\\slash.txt"): "download",  # refuses it, and takes the name in the URL
    ("aria2", '"all\\".txt'): "download",
    ("aria2", "new\nline.txt"): "download",
}
TOOLS = {
    "curl": ["curl", "--silent", "--show-error", "--noproxy", "*", "-OJ"],
    "wget": ["wget", "--quiet", "--no-proxy", "--no-config", "--content-disposition"],
    "aria2": ["aria2c", "--quiet", "--no-conf", "--all-proxy=", "--allow-overwrite=false"],
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tool", [pytest.param(one, marks=pytest.mark.part(one)) for one in TOOLS])
def test_a_tool_saves_a_file(folder: Folder, tmp_path: Path, tool: str, name: str) -> None:
    folder.write(name, DATA)
    saved = tmp_path / "saved"
    saved.mkdir()
    command = [*TOOLS[tool], folder.download(name)]
    done = subprocess.run(command, cwd=saved, check=False, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    [found] = saved.iterdir()
    assert found.read_bytes() == DATA
    assert found.name in (name, NAMES[name], OWN_RULES.get((tool, name)))
