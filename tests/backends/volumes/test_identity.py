"""A volume is what it was proved to be: real mounts that go away, are covered, replaced, copied."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import repeat
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner

from api.cli import main
from backends.base import MountedBackend
from backends.fs import marker
from backends.volumes import Volumes, operations
from core.cluster import VolumeIdStore
from core.errors import StorageError, VolumeUnavailable
from core.names import QuotaScope, VFolderId
from core.settings import Settings
from tests.support import doors
from tests.support.loops import run
from tests.support.mounts import Disk, disk, tmpfs
from tests.support.valkey import Valkey

pytestmark = pytest.mark.part("root")


class Place:
    """A volume `local` on a mount of its own, and what a node makes of it."""

    def __init__(self, settings: Settings, valkey: Valkey, mount: Disk) -> None:
        self.settings = settings
        self.valkey = valkey
        self.mount = mount
        self.path = mount.path
        self.backend = opened(settings)

    def vfolder(self) -> VFolderId:
        vfolder = VFolderId(QuotaScope.parse(f"user:{uuid4()}"), uuid4())
        assert vfolder.scope is not None
        self.backend.create_scope(vfolder.scope)
        self.backend.create_vfolder(vfolder)
        return vfolder


settings_in = partial(doors.settings_in, marked=False)


def opened(settings: Settings, name: str = "local") -> MountedBackend:
    """The backend of a volume in a new process: it knows only what the store and the node keep."""
    backend = Volumes(settings).get(name).skill(MountedBackend)
    assert backend is not None
    return backend


@pytest.fixture
def place(tmp_path: Path, valkey: Valkey) -> Iterator[Place]:
    valkey.client(1).flushall()
    settings = settings_in(tmp_path, valkey.url)
    with disk(tmp_path / "local", tmp_path) as mount:
        yield Place(settings, valkey, mount)


def away(mount: Disk) -> None:
    mount.umount()


def lazily(mount: Disk) -> None:
    with (mount.path / "in use").open("w"):
        mount.umount("-l")


def covered(mount: Disk) -> None:
    mount.cover()


def replaced(mount: Disk) -> None:
    mount.umount()
    tmpfs(mount.path)


def emptied(mount: Disk) -> None:
    mount.umount()
    mount.path.rmdir()
    mount.path.mkdir()


def removed(mount: Disk) -> None:
    mount.umount()
    mount.path.rmdir()


WAYS = (away, lazily, covered, replaced, emptied, removed)


NEW = QuotaScope.parse(f"user:{uuid4()}")


def scope_of(vfolder: VFolderId) -> QuotaScope:
    assert vfolder.scope is not None
    return vfolder.scope


CALLS: tuple[Callable[[MountedBackend, VFolderId], object], ...] = (
    lambda backend, _: backend.probe(),
    lambda backend, _: backend.capacity(),
    lambda backend, _: backend.create_scope(NEW),
    lambda backend, vfolder: backend.describe_scope(scope_of(vfolder)),
    lambda backend, vfolder: backend.set_limit(scope_of(vfolder), 1 << 20),
    lambda backend, vfolder: backend.unset_limit(scope_of(vfolder)),
    lambda backend, vfolder: backend.delete_scope(scope_of(vfolder)),
    lambda backend, vfolder: backend.create_vfolder(vfolder),
    lambda backend, vfolder: backend.open_vfolder(vfolder).__enter__(),
    lambda backend, _: backend.root().__enter__(),
    lambda backend, _: backend.held().__enter__(),
    operations.exists,
    operations.mount_path,
)


def refuse_all(backends: Iterable[MountedBackend], vfolder: VFolderId) -> None:
    """Check that every call is refused as unavailable: nothing is absent, nothing is made."""
    for call, backend in zip(CALLS, backends, strict=False):
        with pytest.raises(VolumeUnavailable) as caught:
            call(backend, vfolder)
        assert (caught.value.status, caught.value.retriable) == (503, True)
        assert str(backend.mount.path) not in caught.value.detail


@pytest.mark.parametrize("go", WAYS, ids=lambda way: way.__name__)
def test_nothing_is_done_where_the_mount_is_not(place: Place, go: Callable[[Disk], None]) -> None:
    vfolder = place.vfolder()
    proved = [opened(place.settings) for _ in CALLS]
    assert all(operations.exists(backend, vfolder) for backend in proved)
    go(place.mount)
    refuse_all(proved, vfolder)  # the first call that each of them makes since
    refuse_all(repeat(opened(place.settings)), vfolder)
    place.path.mkdir(exist_ok=True)
    assert os.listdir(place.path) == place.mount.bare() == []
    place.mount.mount()
    assert operations.exists(place.backend, vfolder)  # without a restart
    place.backend.probe()


def test_the_store_forgot_and_the_node_remembers(place: Place) -> None:
    place.backend.probe()
    place.mount.umount()
    place.valkey.client(1).flushall()
    with pytest.raises(VolumeUnavailable):
        opened(place.settings).probe()
    assert os.listdir(place.path) == []
    place.mount.mount()
    opened(place.settings).probe()


def test_a_store_that_is_away_costs_a_proved_volume_nothing(place: Place) -> None:
    vfolder = place.vfolder()
    alone = settings_in(place.path.parent)  # no store answers at its address
    assert operations.exists(opened(alone), vfolder)
    place.mount.umount()
    with pytest.raises(VolumeUnavailable):
        operations.exists(opened(alone), vfolder)


def test_no_marker_is_made_while_the_store_is_away(place: Place) -> None:
    alone = settings_in(place.path.parent)
    with pytest.raises(VolumeUnavailable):
        opened(alone).probe()
    assert os.listdir(place.path) == []


def test_processes_that_prove_a_new_volume_at_once_agree(place: Place) -> None:
    backends = [opened(place.settings) for _ in range(12)]
    failed: list[StorageError] = []

    def prove(backend: MountedBackend) -> None:
        try:
            backend.probe()
        except StorageError as error:
            failed.append(error)

    threads = [threading.Thread(target=prove, args=(backend,)) for backend in backends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert os.listdir(place.path) == [marker.NAME]


def test_a_node_that_proves_another_file_system_at_first_leaves_nothing_there(
    place: Place, tmp_path: Path
) -> None:
    """Two nodes see the volume for the first time, and one of them has an empty directory."""
    place.backend.probe()
    other = settings_in(_directory(tmp_path / "other"), place.valkey.url)
    opened(place.settings).probe()  # the store knows it again
    with pytest.raises(VolumeUnavailable):
        opened(other).probe()
    assert os.listdir(other.directory / "local") == []


def test_of_two_file_systems_that_are_proved_at_once_one_is_the_volume(
    place: Place, tmp_path: Path
) -> None:
    """The other node makes nothing, or takes back what it made."""
    other = settings_in(_directory(tmp_path / "other"), place.valkey.url)
    tops = (place.path, other.directory / "local")
    for _ in range(20):
        place.valkey.client(1).flushall()
        shutil.rmtree(other.directory / "volume-ids", ignore_errors=True)
        shutil.rmtree(place.settings.directory / "volume-ids", ignore_errors=True)
        backends = [opened(settings) for settings in (place.settings, other)]
        barrier = threading.Barrier(2)

        def prove(backend: MountedBackend, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            with suppress(VolumeUnavailable):
                backend.probe()

        threads = [threading.Thread(target=prove, args=(backend,)) for backend in backends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(os.listdir(top) for top in tops) == [[], [marker.NAME]]
        for top in tops:
            (top / marker.NAME).unlink(missing_ok=True)


def test_a_proof_gives_the_store_back_what_it_forgot(place: Place) -> None:
    place.backend.probe()
    client = place.valkey.client(1)
    before = VolumeIdStore(client).all()
    client.flushall()
    place.backend.probe()
    assert VolumeIdStore(client).all() == before


def _directory(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_marker_that_is_removed_changed_or_a_link_is_no_marker(place: Place) -> None:
    vfolder = place.vfolder()
    path = place.path / marker.NAME
    text = path.read_text()
    path.unlink()
    refuse_all(repeat(place.backend), vfolder)
    (place.path / "elsewhere").write_text(text)
    path.symlink_to("elsewhere")
    with pytest.raises(StorageError):
        place.backend.probe()
    path.unlink()
    for wrong in ("", f"{uuid4()}\n", "no uuid\n"):
        path.write_text(wrong)
        refuse_all(repeat(place.backend), vfolder)
    path.write_text(text)
    assert operations.exists(place.backend, vfolder)


def test_a_read_only_volume_is_known_without_a_marker(place: Place) -> None:
    run("mount", "-o", "remount,ro,bind", place.path)
    place.backend.probe()
    assert os.listdir(place.path) == []
    place.mount.umount()
    with pytest.raises(VolumeUnavailable):
        opened(place.settings).probe()
    assert os.listdir(place.path) == []
    place.mount.mount()
    opened(place.settings).probe()  # writable now: it gets its marker
    place.backend.probe()
    assert os.listdir(place.path) == [marker.NAME]


def test_a_held_volume_stays_the_same_mount(place: Place) -> None:
    """A job goes on beneath its descriptor; `umount` says busy, `umount -l` does not."""
    vfolder = place.vfolder()
    with place.backend.held():
        with pytest.raises(RuntimeError, match="busy"):
            place.mount.umount()
        place.mount.umount("-l")
        place.mount.cover()
        with place.backend.open_vfolder(vfolder) as top:
            os.close(os.open("made", os.O_CREAT | os.O_WRONLY, dir_fd=top))
    refuse_all(repeat(place.backend), vfolder)
    place.mount.umount()
    place.mount.mount()
    assert (place.backend.vfolder_path(vfolder) / "made").exists()
    place.mount.umount()  # nothing holds it when no job runs


SECOND = '[volume.second]\nbackend = "vfs"\npath = "second"\n'


def test_the_same_marker_at_two_places_of_a_node_is_refused(place: Place, tmp_path: Path) -> None:
    place.backend.probe()
    second = tmp_path / "second"
    shutil.copytree(place.path, second)
    settings = settings_in(tmp_path, place.valkey.url, SECOND)
    opened(settings).probe()
    with pytest.raises(VolumeUnavailable, match=r"volumes adopt --new second"):
        opened(settings, "second").probe()


def test_two_names_of_one_path_are_one_volume(place: Place, tmp_path: Path) -> None:
    settings = settings_in(tmp_path, place.valkey.url, SECOND.replace('"second"\n', '"local"\n'))
    opened(settings).probe()
    opened(settings, "second").probe()


def test_a_required_mount_gets_no_marker_before_it_is_mounted(place: Place, tmp_path: Path) -> None:
    place.mount.umount()
    more = '[vfolder.mounts]\nrequire-mount = ["local"]'
    settings = settings_in(tmp_path, place.valkey.url, more)
    with pytest.raises(VolumeUnavailable, match="require-mount"):
        opened(settings).probe()
    assert os.listdir(place.path) == []
    place.mount.mount()
    opened(settings).probe()


@pytest.mark.parametrize("value", ["true", '["local"]'])
@pytest.mark.parametrize("command", [("workers.serve", "worker"), ("api.serve", "client")])
def test_a_process_does_not_start_without_a_required_mount(
    place: Place, tmp_path: Path, value: str, command: tuple[str, str]
) -> None:
    place.mount.umount()
    more = f"[vfolder.mounts]\nrequire-mount = {value}"
    settings = settings_in(tmp_path, place.valkey.url, more)
    environ = {**os.environ, "VFOLDER_CONFIG": settings.origin}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode != 0
    assert "is no mount point" in done.stderr


def test_the_store_fails_amid_the_first_proof(place: Place) -> None:
    place.valkey.client(1).execute_command("CLIENT", "KILL", "TYPE", "normal")
    place.backend.probe()
    assert (place.path / marker.NAME).is_file()


def adopt(settings: Settings, *arguments: str) -> str:
    words = ["volumes", "adopt", *arguments, "--config", settings.origin]
    return CliRunner().invoke(main, words).output


def test_an_operator_adopts_another_file_system(place: Place) -> None:
    vfolder = place.vfolder()
    place.mount.umount()
    tmpfs(place.path)
    refuse_all(repeat(place.backend), vfolder)
    assert "is the file system with the id" in adopt(place.settings, "local")
    assert not operations.exists(place.backend, vfolder)  # it is empty, and it is the volume
    place.mount.umount()
    place.mount.mount()
    refuse_all(repeat(place.backend), vfolder)
    adopt(place.settings, "local")  # the former one again: it has its marker
    assert operations.exists(place.backend, vfolder)


def test_a_copy_is_adopted_with_an_id_of_its_own(place: Place, tmp_path: Path) -> None:
    place.backend.probe()
    shutil.copytree(place.path, tmp_path / "second")
    settings = settings_in(tmp_path, place.valkey.url, SECOND)
    assert "its marker is that of volume local" in adopt(settings, "second")
    adopt(settings, "second", "--new")
    opened(settings, "second").probe()
    opened(settings).probe()


def test_nothing_is_adopted_where_a_mount_is_required(place: Place, tmp_path: Path) -> None:
    more = "[vfolder.mounts]\nrequire-mount = true"
    settings = settings_in(tmp_path, place.valkey.url, more)
    place.mount.umount()
    assert "require-mount" in adopt(settings, "local")
    assert os.listdir(place.path) == []
