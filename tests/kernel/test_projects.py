"""Project ids on real XFS and ext4: never shared, never leaked, whatever dies when."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from backends.base import Mount
from backends.fs import descriptors, layout
from backends.mounted import PosixBackend, ProjectUsage, project_ids
from backends.systems.xfs import Ext4Backend, XfsBackend, quotactl
from backends.systems.xfs.backend import ProjectQuotaBackend
from backends.uploads import Staging
from backends.uploads.directories import upload_directory
from contract.deaths import Part, child, deaths
from contract.waiting import eventually
from core import errors
from core.names import QuotaScope, ScopeKind, VFolderId, VFolderPath
from core.process import privileges
from core.uploads import Upload
from tests.support.thoroughness import times

MIB = 1 << 20
#: What the acts on scopes change things with; a death comes before each of them in turn.
EFFECTS = ("mkdirat", "ioctl", "quotactl_fd", "fsync", "renameat", "renameat2", "unlinkat", "write")
#: What it takes to put a tree under a limit.
TAGGING = ("ioctl", "quotactl_fd", "renameat")

#: Every second of them, and the first of each kind.
PART = Part(times(2, 1))
#: The effects that the file system itself has of a scope; a death comes before the first of each.
OWN_EFFECTS, FIRSTS = ("ioctl", "quotactl_fd"), Part(100)
#: A process under strace is slow in this kernel; the code is the same on both file systems.
ON_XFS = pytest.mark.parametrize("backend", ["UML_XFS"], indirect=True)


@pytest.fixture(params=["UML_XFS", "UML_EXT4"])
def backend(request: pytest.FixtureRequest) -> ProjectQuotaBackend:
    privileges.drop(privileges.CAP_SYS_RESOURCE)
    top = Path(os.environ[request.param]) / f"projects-{uuid4().hex}"
    top.mkdir()
    kind = XfsBackend if request.param == "UML_XFS" else Ext4Backend
    return kind(Mount("kernel", top))


def new() -> QuotaScope:
    return QuotaScope(ScopeKind.USER, uuid4())


def project(backend: ProjectQuotaBackend, scope: QuotaScope) -> int:
    with backend.open_scope(scope) as directory:
        return project_ids.project_of(directory)


def counted(backend: ProjectQuotaBackend, number: int) -> ProjectUsage:
    with backend.root() as root:
        return quotactl.usage(root, number)


@pytest.mark.parametrize(
    ("backend", "calls", "part", "least"),
    [
        ("UML_XFS", EFFECTS, PART, len(EFFECTS) // PART.every + 1),
        ("UML_EXT4", OWN_EFFECTS, FIRSTS, len(OWN_EFFECTS)),
    ],
    indirect=["backend"],
)
def test_a_creation_killed_at_any_call_is_done_by_the_next(
    backend: ProjectQuotaBackend, calls: tuple[str, ...], part: Part, least: int
) -> None:
    ids = []
    died = 0
    for scope in deaths(lambda scope: backend.create_scope(scope, 5 * MIB), new, calls, part):
        died += 1
        with suppress(errors.QuotaScopeExists):  # it was whole already
            backend.create_scope(scope, 5 * MIB)
        found = backend.describe_scope(scope)
        assert (found.limit_bytes, found.enforced) == (5 * MIB, "hard")
        ids.append(project(backend, scope))
        assert counted(backend, ids[-1]).inodes == 1
        assert os.listdir(backend.mount.path / layout.area(None, layout.MAKING)) == []
    assert died >= least
    assert len(set(ids)) == len(ids)
    assert 0 not in ids


@ON_XFS
def test_a_removal_killed_at_any_call_leaks_no_id(backend: ProjectQuotaBackend) -> None:
    died = 0

    def made() -> QuotaScope:
        scope = new()
        backend.create_scope(scope, MIB)
        backend.create_vfolder(VFolderId(scope, uuid4()))
        top = backend.mount.path / scope.directory
        for path in sorted(top.rglob("*"), reverse=True):
            path.rmdir()
        (top / layout.HIDDEN / layout.JOBS).mkdir(parents=True)
        known[scope] = project(backend, scope)
        return scope

    known: dict[QuotaScope, int] = {}
    for scope in deaths(backend.delete_scope, made, EFFECTS, PART):
        died += 1
        with suppress(errors.QuotaScopeNotFound):  # it was gone already
            backend.delete_scope(scope)
        eventually(lambda scope=scope: counted(backend, known[scope]).inodes == 0)
        backend.create_scope(scope)
        assert project(backend, scope) == known[scope]
        assert backend.describe_scope(scope).limit_bytes is None
    assert died > 1


def test_an_id_that_anything_carries_is_not_given(backend: ProjectQuotaBackend) -> None:
    scope = new()
    first = next(project_ids._candidates(scope))
    stray = backend.mount.path / "stray"
    stray.write_bytes(b"")
    with stray.open("rb") as file:
        project_ids.tag(file.fileno(), first)
    backend.create_scope(scope)
    assert project(backend, scope) != first
    assert counted(backend, first).inodes == 1


def test_two_that_choose_one_id_both_choose_again(backend: ProjectQuotaBackend) -> None:
    """Volumes of one file system share no lock; the kernel's count tells them apart."""
    others = [type(backend)(Mount(f"v{n}", backend.mount.path / f"v{n}")) for n in range(4)]
    for other in others:
        other.mount.path.mkdir()
    scope = new()  # the same name everywhere: every volume starts from the same id
    running = [child(lambda other=other: other.create_scope(scope, MIB)) for other in others]
    for number in running:
        os.kill(number, signal.SIGCONT)
    assert [os.waitstatus_to_exitcode(os.waitpid(n, 0)[1]) for n in running] == [0] * len(others)
    ids = [project(other, scope) for other in others]
    assert len(set(ids)) == len(ids)
    assert [counted(backend, number).inodes for number in ids] == [1] * len(ids)


@ON_XFS
def test_a_taking_over_that_died_goes_on(backend: ProjectQuotaBackend) -> None:
    def made() -> QuotaScope:
        scope = new()
        top = backend.mount.path / scope.directory
        (top / "a").mkdir(parents=True)
        (top / "a/1").write_bytes(b"x" * 4096)
        return scope

    for scope in deaths(lambda scope: backend.set_limit(scope, 8 * MIB), made, TAGGING, PART):
        backend.set_limit(scope, 8 * MIB)
        assert counted(backend, project(backend, scope)).inodes == 3
        assert backend.describe_scope(scope).limit_bytes == 8 * MIB


def test_a_taking_over_holds_up_nobody_and_goes_on(backend: ProjectQuotaBackend) -> None:
    scope, other = new(), new()
    top = backend.mount.path / scope.directory
    for number in range(5):
        (top / f"{number}/below").mkdir(parents=True)
        (top / f"{number}/below/file").write_bytes(b"x" * 4096)
    seen = 0

    class Stopped(Exception):
        pass

    def entry() -> None:
        nonlocal seen
        seen += 1
        if seen == 4:
            backend.create_scope(other, MIB)
            raise Stopped

    with pytest.raises(Stopped):
        backend.adopt_scope(scope, 8 * MIB, entry)
    assert backend.describe_scope(other).limit_bytes == MIB
    assert backend.describe_scope(scope).limit_bytes is None
    backend.adopt_scope(scope, 8 * MIB, lambda: None)
    assert counted(backend, project(backend, scope)).inodes == 1 + 5 * 3
    assert backend.describe_scope(scope).limit_bytes == 8 * MIB


def test_the_limit_of_inodes_is_an_administrators(backend: ProjectQuotaBackend) -> None:
    scope = new()
    backend.create_scope(scope, MIB)
    number, top = project(backend, scope), backend.mount.path
    mount = next(p for p in top.parents if p.is_mount())
    subprocess.run(["setquota", "-P", f"{number}", "0", "1024", "0", "77", mount], check=True)
    backend.set_limit(scope, 2 * MIB)
    command = ["repquota", "-P", "-n", "-O", "csv", mount]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    row = next(line for line in output.splitlines() if line.startswith(f"#{number},")).split(",")
    assert (row[5], row[9]) == ("2048", "77")


def test_a_limit_of_inodes_stops_writers_and_goes_with_its_scope(
    backend: ProjectQuotaBackend,
) -> None:
    scope = new()
    backend.create_scope(scope, MIB)
    number, top = project(backend, scope), backend.mount.path / scope.directory
    backend.set_inode_limit(scope, 3)
    backend.set_soft_limit(scope, MIB // 2)
    for name in "ab":
        (top / name).touch()
    with pytest.raises(OSError, match=r"quota|space"):
        (top / "c").touch()
    assert backend.describe_scope(scope).used_inodes == 3
    for name in "ab":
        (top / name).unlink()
    backend.delete_scope(scope)
    found = counted(backend, number)
    assert (found.limit_inodes, found.soft_limit_bytes) == (0, 0)


def test_limits_of_a_scope_that_is_not_counted(backend: ProjectQuotaBackend) -> None:
    scope = new()
    (backend.mount.path / scope.directory).mkdir()
    backend.set_inode_limit(scope, None)
    with pytest.raises(errors.Conflict, match="not counted"):
        backend.set_inode_limit(scope, 3)


def test_another_file_system_is_refused(backend: ProjectQuotaBackend, tmp_path: Path) -> None:
    assert backend.probe()
    wrong = Ext4Backend if isinstance(backend, XfsBackend) else XfsBackend
    with pytest.raises(errors.BackendFailed, match=r"no (ext4|xfs)"):
        wrong(backend.mount).probe()
    with pytest.raises(errors.BackendFailed):
        type(backend)(Mount("elsewhere", tmp_path)).probe()
    assert PosixBackend(backend.mount).probe() == backend.probe()


def test_an_upload_into_a_directory_of_another_project(backend: ProjectQuotaBackend) -> None:
    """The kernel renames no file of another project into it: the upload takes its project."""
    scope = new()
    backend.create_scope(scope, 5 * MIB)
    vfolder = VFolderId(scope, uuid4())
    backend.create_vfolder(vfolder)
    billed = backend.vfolder_path(vfolder) / "billed"
    billed.mkdir()
    number = project_ids.LAST_ID
    for content in (b"first", b"again"):
        with descriptors.opened(billed) as directory:
            project_ids.tag(directory, number)
        names = {"volume": "kernel", "vfolder": str(vfolder), "path": "billed/file"}
        upload = Upload(id=uuid4().hex, session="one", **names)
        with upload_directory(backend, upload, make=True) as hidden:
            file = os.open(upload.id, os.O_CREAT | os.O_RDWR, dir_fd=hidden)
            os.write(file, content)
            Staging(backend, upload, os.dup(hidden), file).publish(VFolderPath.parse(upload.path))
            assert project_ids.project_of(file) == number
            os.close(file)
        assert (billed / "file").read_bytes() == content


SWITCHES = {
    "xfs": (["xfs_quota", "-x", "-c", "disable -p"], ["xfs_quota", "-x", "-c", "enable -p"]),
    "ext4": (["quotaoff", "-P"], ["quotaon", "-P"]),
}


def test_limits_that_are_switched_off_are_told_so(backend: ProjectQuotaBackend) -> None:
    one, top = new(), backend.mount.path.parent
    backend.create_scope(one, MIB)
    assert backend.describe_scope(one).enforced == "hard"
    off, on = SWITCHES[backend.name]
    subprocess.run([*off, top], check=True)
    try:
        found = backend.describe_scope(one)
        assert (found.limit_bytes, found.enforced) == (MIB, "off")
        assert "quota" in backend.lacking()
    finally:
        subprocess.run([*on, top], check=True)
    assert backend.describe_scope(one).enforced == "hard"
