"""Quota without rights: a process that is not root sends its changes to the worker of its node."""

import os
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest

from backends.base import Backend, HasQuota, capabilities
from backends.volumes import Volumes
from backends.volumes.wrappers.privileged import HelperRequest, exchange
from contract.waiting import eventually
from core import errors
from core.names import QuotaScope, ScopeKind, VFolderId
from core.settings import Settings, load
from tests.support.doors import settings_in
from tests.support.loops import mounted
from workers.node.privileged_quota import QuotaHelperServer

pytestmark = [
    pytest.mark.part("btrfs"),
    pytest.mark.part("root"),
]
MIB = 1 << 20
OWNER, OTHER = 61234, 61235


@dataclass
class Site:
    """A volume whose top belongs to a user without rights, and a worker that listens."""

    settings: Settings
    top: Path
    socket_path: Path

    def backend(self) -> Backend:
        return Volumes(self.settings).get("fast")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    # Each start of pytest closes its own directories to other users.
    with (
        TemporaryDirectory(prefix="privileged-") as name,
        mounted(Path(name) / "disk", ["mkfs.btrfs", "-q"], size_bytes=256 * MIB) as top,
    ):
        directory = Path(name)
        directory.chmod(0o755)
        os.chown(top, OWNER, OWNER)
        socket_path = directory / "quota.sock"
        more = f"""
[volume.fast]
backend = "btrfs"
path = "{top}"
[vfolder.worker]
quota-socket = "{socket_path}"
"""
        settings = settings_in(directory, more=more)
        volumes = Volumes(load(Path(settings.origin), environ={}))
        volumes.get("fast").probe()
        listening = QuotaHelperServer(socket_path, volumes)
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield Site(settings, top, socket_path)
        listening.shutdown()
        listening.server_close()


def run_as(user: int, function: Callable[[], None]) -> bool:
    """Return whether a function succeeds in a process of a user without rights."""
    number = os.fork()
    if number == 0:
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            function()
        except BaseException:  # noqa: BLE001 - a child never comes back
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 0


def new() -> QuotaScope:
    return QuotaScope(ScopeKind.USER, uuid4())


def test_a_door_without_rights_makes_all_changes(site: Site) -> None:
    def changes() -> None:
        backend = site.backend()
        assert backend.skill(HasQuota)
        # btrfs counts again after quota was switched on; until then its sums are not exact.
        eventually(lambda: "quota" in capabilities(backend))
        scope = new()
        backend.create_scope(scope, 4 * MIB)
        with pytest.raises(errors.QuotaScopeExists):
            backend.create_scope(scope, 4 * MIB)
        backend.set_limit(scope, 8 * MIB + 1)
        found = backend.describe_scope(scope)
        assert (found.requested_bytes, found.enforced) == (8 * MIB + 1, "hard")
        vfolder = VFolderId(scope, uuid4())
        backend.create_vfolder(vfolder)
        (backend.vfolder_path(vfolder) / "file").write_bytes(b"mine")
        with pytest.raises(errors.QuotaScopeNotEmpty):
            backend.delete_scope(scope)
        with pytest.raises(errors.InvalidParameters):
            backend.set_limit(scope, -1)
        backend.unset_limit(scope)
        assert backend.describe_scope(scope).limit_bytes is None
        empty = new()
        backend.create_scope(empty)
        backend.delete_scope(empty)
        with pytest.raises(errors.QuotaScopeNotFound):
            backend.describe_scope(empty)

    assert run_as(OWNER, changes)


def test_what_the_worker_makes_belongs_to_the_owner_of_the_volume(site: Site) -> None:
    """So the door can continue with it."""
    backend = site.backend()
    scope = new()
    backend.create_scope(scope, 4 * MIB)
    vfolder = VFolderId(scope, uuid4())
    backend.create_vfolder(vfolder)

    def changes() -> None:
        (backend.vfolder_path(vfolder) / "file").write_bytes(b"mine")
        site.backend().create_vfolder(VFolderId(scope, uuid4()))

    assert run_as(OWNER, changes)


def test_another_user_is_refused(site: Site) -> None:
    scope = new()

    def changes() -> None:
        with pytest.raises(errors.Forbidden):
            site.backend().create_scope(scope, MIB)

    assert run_as(OTHER, changes)
    assert not (site.top / scope.directory).exists()


@pytest.mark.parametrize(
    "message", [b"", b"{", b"[]", b'{"verb":"probe","volume":"fast","scope":"x"}', b"x" * 100_000]
)
def test_nonsense_is_refused_and_the_next_request_answered(site: Site, message: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(site.socket_path))
        try:
            line.sendall(message)
            line.shutdown(socket.SHUT_WR)
            assert b"InvalidParameters" in line.recv(4096)
        except (BrokenPipeError, ConnectionResetError):
            assert len(message) > 65_536  # longer than the worker reads
    answer = exchange(site.socket_path, HelperRequest("describe_scope", "fast", str(new())))
    assert answer.refusal == "QuotaScopeNotFound"
    for volume, refusal in (("fast", "InvalidParameters"), ("none", "UnknownVolume")):
        answer = exchange(site.socket_path, HelperRequest("set_limit", volume, str(new())))
        assert answer.refusal == refusal


def test_a_missing_worker_is_unavailable(site: Site, tmp_path: Path) -> None:
    def changes() -> None:
        with pytest.raises(errors.Unavailable):
            exchange(tmp_path / "no-worker", HelperRequest("describe_scope", "fast", str(new())))

    assert run_as(OWNER, changes)
