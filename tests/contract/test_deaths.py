"""Acts on quota scopes that die before any of their system calls: the next try ends them rightly.

In the user-mode kernel `tests/kernel` does this for the calls that change something; a process
under strace is slow there.
"""

import os
from contextlib import suppress
from uuid import uuid4

import pytest

from backends import layout
from backends.base import HasQuota
from backends.posix import PosixBackend
from core import errors
from core.names import QuotaScope, ScopeKind
from tests.contract.sites import Site
from tests.support.deaths import deaths

pytestmark = [
    pytest.mark.part("strace"),
    pytest.mark.skipif("UML_XFS" in os.environ, reason="tests/kernel does it there"),
]
MIB = 1 << 20
#: A creation makes more system calls than this, whatever the backend.
CALLS_MIN = 3


def new() -> QuotaScope:
    return QuotaScope(ScopeKind.USER, uuid4())


def leftovers(backend: PosixBackend) -> list[str]:
    making = backend.mount.path / layout.area(None, layout.MAKING)
    return os.listdir(making) if making.exists() else []


def test_a_creation_killed_at_any_call_is_done_by_the_next(site: Site) -> None:
    backend, calls = site.backend, site.kind.deadly_calls
    died = 0
    made = []

    def fresh() -> QuotaScope:
        made.append(new())
        return made[-1]

    for scope in deaths(lambda scope: backend.create_scope(scope, 5 * MIB), fresh, calls):
        died += 1
        with suppress(errors.QuotaScopeExists):  # it was whole already
            backend.create_scope(scope, 5 * MIB)
        if isinstance(backend, HasQuota):
            found = backend.describe_scope(scope)
            assert (found.limit_bytes, found.enforced) == (5 * MIB, "hard")
            assert leftovers(backend) == []
    assert died > CALLS_MIN
    for scope in made:
        backend.delete_scope(scope)


def test_a_removal_killed_at_any_call_is_done_by_the_next(site: Site) -> None:
    backend, calls = site.backend, site.kind.deadly_calls

    def made() -> QuotaScope:
        scope = new()
        backend.create_scope(scope, MIB)
        (backend.mount.path / scope.directory / layout.HIDDEN / layout.JOBS).mkdir(parents=True)
        return scope

    died = 0
    for scope in deaths(backend.delete_scope, made, calls):
        died += 1
        with suppress(errors.QuotaScopeNotFound):  # it was gone already
            backend.delete_scope(scope)
        backend.create_scope(scope)
        assert backend.describe_scope(scope).limit_bytes is None
        backend.delete_scope(scope)
    assert died > CALLS_MIN
