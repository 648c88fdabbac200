"""Limits are enforced, are named as the cause only when they are it, and never stop a delete."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from uuid import uuid4

from backends.base import HasQuota, MountedBackend
from backends.fs import translate
from backends.quota import blame
from contract.site import Site
from contract.waiting import eventually
from core import errors
from core.names import QuotaScope, VFolderId

MIB = 1 << 20
LIMIT = 10 * MIB
WRITERS = 64


def limited(backend: MountedBackend, scope: QuotaScope) -> Path:
    backend.create_scope(scope, LIMIT)
    vfolder = VFolderId(scope, uuid4())
    backend.create_vfolder(vfolder)
    return backend.vfolder_path(vfolder)


def fill(path: Path, site: Site, scope: QuotaScope) -> OSError | None:
    """Write up to four times the limit; return the error that stopped it."""
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        for number in range(4 * LIMIT // MIB):
            if site.kind.reported_late and number == LIMIT // MIB:
                eventually(lambda: used(site.backend, scope) >= LIMIT)
            os.write(fd, os.urandom(MIB))
            os.fsync(fd)
    except OSError as error:
        return error
    finally:
        os.close(fd)
    return None


def used(backend: MountedBackend, scope: QuotaScope) -> int:
    found = backend.describe_scope(scope).used_bytes
    assert found is not None
    return found


def test_a_full_scope_and_a_full_volume_are_different_errors(
    quota: HasQuota, site: Site, scope: QuotaScope
) -> None:
    backend = site.backend
    top = limited(backend, scope)
    refusal = fill(top / "big", site, scope)
    assert refusal is not None
    problem = blame(backend, scope, translate(refusal))
    assert isinstance(problem, errors.QuotaExceeded)
    assert problem.status == 422
    assert str(backend.mount.path) not in problem.detail
    assert site.kind.lateness_bytes is not None
    assert used(backend, scope) <= LIMIT + site.kind.lateness_bytes
    backend.unset_limit(scope)
    full = blame(backend, scope, errors.NoSpace("The volume is full."))
    assert isinstance(full, errors.NoSpace)


def test_a_full_scope_can_be_emptied(quota: HasQuota, site: Site, scope: QuotaScope) -> None:
    backend = site.backend
    top = limited(backend, scope)
    assert fill(top / "big", site, scope) is not None
    (top / "big").unlink()
    os.sync()
    eventually(lambda: used(backend, scope) < MIB)
    (top / "again").write_bytes(b"x" * MIB)


def test_a_full_scope_takes_more_once_its_limit_is_raised(
    quota: HasQuota, site: Site, scope: QuotaScope
) -> None:
    backend = site.backend
    top = limited(backend, scope)
    assert fill(top / "big", site, scope) is not None
    backend.set_limit(scope, 4 * LIMIT)
    (top / "more").write_bytes(b"x" * MIB)
    backend.set_limit(scope, MIB)
    assert backend.describe_scope(scope).limit_bytes == MIB
    backend.unset_limit(scope)
    (top / "more still").write_bytes(b"x" * LIMIT)


def test_many_writers_never_pass_the_limit(quota: HasQuota, site: Site, scope: QuotaScope) -> None:
    backend = site.backend
    top = limited(backend, scope)

    in_turn = Lock()

    def write(number: int) -> bool:
        path = top / f"{number}"
        if site.kind.reported_late and number >= LIMIT // MIB:
            with in_turn:
                eventually(lambda: used(backend, scope) >= LIMIT)
        try:
            with path.open("wb") as file:
                file.write(os.urandom(MIB))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            problem = blame(backend, scope, translate(error))
            assert isinstance(problem, errors.QuotaExceeded)
            path.unlink(missing_ok=True)
            return False
        return True

    with ThreadPoolExecutor(WRITERS) as pool:
        kept = list(pool.map(write, range(WRITERS)))
    assert not all(kept)
    assert site.kind.lateness_bytes is not None
    assert sum(p.stat().st_size for p in top.iterdir()) <= LIMIT + site.kind.lateness_bytes
    assert len(list(top.iterdir())) == sum(kept)
    os.sync()
    assert used(backend, scope) <= LIMIT + site.kind.lateness_bytes


def test_usage_follows_what_is_written_and_removed(
    quota: HasQuota, backend: MountedBackend, scope: QuotaScope
) -> None:
    top = limited(backend, scope)
    before = used(backend, scope)
    (top / "one").write_bytes(os.urandom(2 * MIB))
    os.sync()
    eventually(lambda: 2 * MIB <= used(backend, scope) - before < 3 * MIB)
    (top / "one").unlink()
    os.sync()
    eventually(lambda: used(backend, scope) - before < MIB)
