"""A volume in which something else lies where a vfolder should be: every route, a right body.

Containers and operators write below a volume too. Whatever they leave there, the answer is a
problem or an honest success. It is never a 5xx, and nothing outside the vfolder is read or changed.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.names import VFolderId
from core.settings import Settings
from tests.api.wire.conftest import make_vfolder, new_vfid
from tests.support.doors import RunningDoor
from tests.support.manager_bodies import RIGHT, filled
from tests.support.trees import snapshot

SECRET = "untouched"


def file_at(path: Path, _: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file")


def link_at(path: Path, outside: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(outside)


def dangling_at(path: Path, outside: Path) -> None:
    link_at(path, outside / "nothing")


#: What lies there, and how far above the vfolder's own directory (3 is its quota scope).
STATES: dict[str, tuple[Callable[[Path, Path], None], int]] = {
    f"{make.__name__} {above} above": (make, above)
    for make in (file_at, link_at, dangling_at)
    for above in range(4)
}


@pytest.mark.parametrize("state", STATES)
def test_a_vfolder_that_is_none(
    manager: RunningDoor, settings: Settings, tmp_path: Path, state: str
) -> None:
    make, above = STATES[state]
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.txt").write_text(SECRET)
    before = snapshot(tmp_path / "outside")
    wrong = []
    for operation, right in RIGHT.items():
        vfid = new_vfid()
        root = settings.directory / "local" / VFolderId.parse(vfid).directory
        make((root, *root.parents)[above], tmp_path / "outside")
        response = manager.call(*operation, filled(right, vfid), on_fault=True)
        leaked = str(tmp_path) in response.text or SECRET in response.text
        if response.status_code >= 500 or leaked:
            wrong.append(f"{operation}: {response.status_code} {response.text[:200]}")
    assert not wrong, "\n".join(wrong)
    assert snapshot(tmp_path / "outside") == before


@pytest.mark.parametrize("name", [".upload", "dir", "a.txt"])
@pytest.mark.parametrize("make", [file_at, link_at, dangling_at])
def test_a_vfolder_with_something_else_in_it(
    manager: RunningDoor,
    settings: Settings,
    tmp_path: Path,
    make: Callable[[Path, Path], None],
    name: str,
) -> None:
    """A container has replaced an entry by a file, or by a link that leads out."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.txt").write_text(SECRET)
    before = snapshot(tmp_path / "outside")
    wrong = []
    for operation, right in RIGHT.items():
        vfid = new_vfid()
        entry = make_vfolder(settings, vfid) / name
        if entry.exists():
            entry.rename(entry.with_name("moved"))
        make(entry, tmp_path / "outside")
        response = manager.call(*operation, filled(right, vfid), on_fault=True)
        leaked = str(tmp_path) in response.text or SECRET in response.text
        if response.status_code >= 500 or leaked:
            wrong.append(f"{operation}: {response.status_code} {response.text[:200]}")
    assert not wrong, "\n".join(wrong)
    assert snapshot(tmp_path / "outside") == before
