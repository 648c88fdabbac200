"""Project quota by tools, and the files of the system that name projects."""

import os
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from backends.base import Mount
from backends.mounted import project_ids
from backends.systems.xfs import Ext4Backend, XfsBackend
from backends.systems.xfs.backend import ProjectQuotaBackend
from backends.systems.xfs.quota_tools import QuotaTools, XfsTools
from contract.deaths import traced
from core import errors
from core.names import QuotaScope, ScopeKind
from core.process import privileges

MIB = 1 << 20
OLD_KERNEL = "inject=quotactl_fd:error=ENOSYS"


@pytest.fixture(params=["UML_XFS", "UML_EXT4"])
def kind(request: pytest.FixtureRequest) -> tuple[type[ProjectQuotaBackend], Path]:
    privileges.drop(privileges.CAP_SYS_RESOURCE)
    top = Path(os.environ[request.param]) / f"tools and {uuid4().hex}"
    top.mkdir()
    return XfsBackend if request.param == "UML_XFS" else Ext4Backend, top


def new() -> QuotaScope:
    return QuotaScope(ScopeKind.USER, uuid4())


def by_tools(kind: tuple[type[ProjectQuotaBackend], Path]) -> ProjectQuotaBackend:
    return kind[0](Mount("kernel", kind[1], {"quota": "tools"}))


def test_tools_do_what_the_kernel_does(kind: tuple[type[ProjectQuotaBackend], Path]) -> None:
    tools, kernel = by_tools(kind), kind[0](Mount("kernel", kind[1]))
    assert tools.probe() == kernel.probe()
    assert tools.enforces_quota()
    scope = new()
    tools.create_scope(scope, 5 * MIB + 1)
    (kind[1] / scope.directory / "file").write_bytes(b"x" * MIB)
    os.sync()
    assert tools.describe_scope(scope) == kernel.describe_scope(scope)
    tools.set_soft_limit(scope, 3 * MIB)
    tools.set_inode_limit(scope, 100)
    found = kernel.describe_scope(scope)
    assert (found.soft_limit_bytes, found.limit_inodes) == (3 * MIB, 100)
    assert tools.describe_scope(scope) == found
    tools.set_limit(scope, 2 * MIB)
    assert kernel.describe_scope(scope).soft_limit_bytes is None
    tools.set_inode_limit(scope, None)
    tools.set_limit(scope, 8 * MIB)
    found = kernel.describe_scope(scope)
    assert (found.limit_bytes, found.limit_inodes) == (8 * MIB, None)
    with pytest.raises(OSError, match=r"quota|space"):
        (kind[1] / scope.directory / "big").write_bytes(b"x" * 9 * MIB)
    (kind[1] / scope.directory / "big").unlink()
    (kind[1] / scope.directory / "file").unlink()
    tools.unset_limit(scope)
    assert kernel.describe_scope(scope).limit_bytes is None
    tools.delete_scope(scope)


def test_an_old_kernel_is_noticed(kind: tuple[type[ProjectQuotaBackend], Path]) -> None:
    scope = new()

    def act() -> None:
        kind[0](Mount("kernel", kind[1])).create_scope(scope, 3 * MIB)

    traced(act, "-o", "/dev/null", "-e", OLD_KERNEL)
    assert kind[0](Mount("kernel", kind[1])).describe_scope(scope).limit_bytes == 3 * MIB


def test_a_grace_with_a_blank_in_it_and_limits_of_inodes(
    kind: tuple[type[ProjectQuotaBackend], Path],
) -> None:
    """`[7 days]`: shown only of a scope that is over its soft limit."""
    tools, scope = by_tools(kind), new()
    tools.create_scope(scope, 8 * MIB)
    mount = next(p for p in kind[1].parents if p.is_mount())
    with tools.open_scope(scope) as directory:
        project = project_ids.project_of(directory)
    command = ["setquota", "-P", f"{project}", "1024", "8192", "0", "77", mount]
    subprocess.run(command, check=True)
    (kind[1] / scope.directory / "file").write_bytes(b"x" * 2 * MIB)
    os.sync()
    found = tools.describe_scope(scope)
    assert found.limit_bytes == 8 * MIB
    assert 2 * MIB <= (found.used_bytes or 0) < 3 * MIB
    tools.set_limit(scope, 4 * MIB)
    output = subprocess.run(
        ["repquota", "-P", "-n", "-O", "csv", mount], capture_output=True, text=True, check=True
    ).stdout
    row = next(line for line in output.splitlines() if line.startswith(f"#{project},")).split(",")
    assert (row[4], row[5], row[9]) == ("1024", "4096", "77")
    tools.set_soft_limit(scope, None)
    assert tools.describe_scope(scope).limit_inodes == 77


def test_success_that_is_none_is_not_believed(tmp_path: Path) -> None:
    """xfs_quota ends with 0 where nothing is counted, and where it knows no such mount."""
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        for tools in (XfsTools(), QuotaTools()):
            assert not tools.enforced(fd)
            with pytest.raises((OSError, errors.BackendFailed)):
                tools.usage(fd, 42)
            with pytest.raises((OSError, errors.BackendFailed)):
                tools.set_limit(fd, 42, MIB)
    finally:
        os.close(fd)


def test_the_files_of_the_system_are_kept_in_step(
    kind: tuple[type[ProjectQuotaBackend], Path], tmp_path: Path
) -> None:
    projects, names = tmp_path / "projects", tmp_path / "projid"
    others = "# mine\n10:/mnt/other\n"
    projects.write_text(others)
    projects.chmod(0o640)
    options = {"projects_file": f"{projects}", "projid_file": f"{names}"}
    backend = kind[0](Mount("kernel", kind[1], options))
    scope, taken = new(), new()
    backend.create_scope(scope, MIB)
    (kind[1] / taken.directory).mkdir()
    backend.set_limit(taken, MIB)
    lines = []
    for each in (scope, taken):
        with backend.open_scope(each) as directory:
            lines.append((project_ids.project_of(directory), each.directory))
    wanted = "".join(f"{number}:{kind[1]}/{name}\n" for number, name in lines)
    assert projects.read_text() == others + wanted
    assert projects.stat().st_mode & 0o777 == 0o640
    assert names.read_text() == "".join(f"vfolder-{name}:{number}\n" for number, name in lines)
    report = subprocess.run(
        ["xfs_quota", "-x", "-f", "-D", projects, "-P", names, "-c", "print"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"vfolder-{scope.directory}" in report.stdout
    backend.delete_scope(scope)
    backend.delete_scope(taken)
    assert projects.read_text() == others
    assert names.read_text() == ""
