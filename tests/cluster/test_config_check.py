"""`vfolder config check` names mistakes with a hint, and prints a right file without secrets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings import CONFIG_VARIABLE
from tests.support.doors import SECRET, TICKET_SECRET, settings_in
from tests.support.node import ROOT


def check(directory: Path, change: tuple[str, str], **variables: str) -> tuple[int, str, str]:
    settings = settings_in(directory)
    path = Path(settings.origin)
    path.write_text(path.read_text().replace(*change))
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", "config", "check"],
        cwd=ROOT,
        env=os.environ | {CONFIG_VARIABLE: settings.origin} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (("node-id", "node_idd"), "did you mean `node-id`"),
        (("internal-addr", "internaladdr"), "did you mean `internal-addr`"),
        (("url =", "urll ="), "did you mean `url`"),
        (('path = "local"', 'pathh = "local"'), "in [volume.local]; did you mean `path`"),
        (('backend = "vfs"', 'backend = "vsf"'), "known are"),
        (('path = "local"', 'path = ""'), "name the mounted directory"),
        (('backend = "vfs"', 'backend = "netapp"'), "[volume.local"),
        (('"1d"', '"one day"'), "is not a duration"),
    ],
    ids=str,
)
def test_mistakes_are_named_with_a_hint(tmp_path: Path, change: tuple[str, str], hint: str) -> None:
    status, printed, errors = check(tmp_path, change)
    assert status == 1
    assert hint in errors
    assert SECRET not in printed + errors


def test_a_right_file_is_printed_without_secrets(tmp_path: Path) -> None:
    change = ("[api.client]", "[debug]\nenabled = true\n[api.client]")
    more = {"VFOLDER__STORAGE_PROXY__SCANDIR_LIMIT": "7"}
    status, printed, errors = check(tmp_path, change, **more)
    assert status == 0, errors
    assert "storage-proxy.scandir-limit = 7" in printed
    assert "debug.enabled is set and has no effect here" in errors
    assert SECRET not in printed
    assert TICKET_SECRET not in printed


def test_variables_are_checked_too(tmp_path: Path) -> None:
    more = {"VFOLDER__STORAGE_PROXY__SCANDIR_LIMTI": "7"}
    status, _, errors = check(tmp_path, ("[api.client]", "[api.client]"), **more)
    assert status == 1
    assert "did you mean `scandir-limit`" in errors


def test_a_plugin_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    package = tmp_path / "packages" / "broken-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[vfolder.backends]\nbroken = broken.backend:Broken\n"
    )
    change = ('backend = "vfs"', 'backend = "broken"')
    status, _, errors = check(tmp_path, change, PYTHONPATH=str(package.parent))
    assert status == 1
    assert "'broken' (broken.backend:Broken) cannot be loaded" in errors
    assert "Traceback" not in errors
