"""Doors and workers that a shell with a private umask started: other users enter what they make."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from core.settings import load
from deploy import first_run
from tests.support.doors import running_door, settings_in
from tests.support.node import ROOT, wait_for
from tests.support.valkey import Valkey
from tests.support.worker import running_worker

PRIVATE = ("sh", "-c", 'umask 077; exec "$@"', "sh")
HIDDEN = ".vfolder"


def closed(top: Path) -> list[str]:
    """The directories of people below a volume that other users do not enter, and its files."""
    found, seen = [], 0
    for directory, names, files in os.walk(top):
        names[:] = [name for name in names if not name.startswith(HIDDEN)]
        for name in [*names, *(file for file in files if not file.startswith(HIDDEN))]:
            path = Path(directory, name)
            expected = 0o755 if path.is_dir() else 0o644
            seen += 1
            if stat.S_IMODE(path.stat().st_mode) != expected:
                found.append(f"{path.relative_to(top)} {path.stat().st_mode:o}")
    assert seen
    return found


def test_the_umask_of_the_shell_closes_nothing(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url)
    scope = f"user:{uuid4()}"
    first, second = (f"{scope}/{uuid4().hex}" for _ in range(2))
    top = settings.volume_path(settings.volume["local"])
    with (
        running_worker(settings, before=PRIVATE),
        running_door("manager", settings, PRIVATE) as door,
    ):

        def call(path: str, **body: object) -> None:
            answer = door.call("POST", path, {"volume": "local"} | body)
            assert answer.ok, answer.text

        call("/quota-scope", qsid=scope)
        call("/folder/create", vfid=first)
        call("/folder/file/mkdir", vfid=first, relpath="a/b", parents=True)
        clone = {"verb": "clone", "volume": "local", "source": first, "target": second}
        job = door.call("POST", "/v1/jobs", clone).json()["id"]
        wait_for(lambda: door.call("GET", f"/v1/jobs/{job}").json()["done"], 120)
        assert door.call("GET", f"/v1/jobs/{job}").json()["state"] == "succeeded"
    # scope, two prefixes each, two vfolders, and the directories in both
    assert len([path for path in top.rglob("b") if path.parent.name == "a"]) == 2
    assert closed(top) == []


def test_the_directories_of_a_first_start_are_open_too(tmp_path: Path) -> None:
    file = tmp_path / "var" / "storage-proxy.toml"
    code = "import sys; from deploy.first_run import Path, ensure; ensure(Path(sys.argv[1]))"
    command = [*PRIVATE, sys.executable, "-c", code, str(file)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    assert file.stat().st_mode & 0o777 == first_run.SECRET_MODE
    local = load(file, {}).volume_path(load(file, {}).volume["local"])
    for made in (local, local.parent, file.parent):
        assert made.stat().st_mode & 0o777 == 0o755
