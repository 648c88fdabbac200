"""A wrapper has the skills of the backend inside, and changes only the calls that it defines."""

from pathlib import Path
from uuid import uuid4

import pytest

from backends.base import (
    HasAdoption,
    HasFastUsage,
    HasQuota,
    HasSnapshots,
    Mount,
    MountedBackend,
    possible_capabilities,
)
from backends.mounted import PosixBackend
from backends.systems.btrfs import BtrfsBackend
from backends.systems.cephfs import CephFsBackend
from backends.volumes.wrappers import FaultyBackend, PrivilegedQuotaBackend
from backends.volumes.wrappers.wrapper import Wrapper
from core.errors import DeadlineExceeded, NoSpace, Unavailable
from core.names import QuotaScope, ScopeKind

SKILLS = (MountedBackend, HasQuota, HasAdoption, HasFastUsage, HasSnapshots)


@pytest.mark.parametrize("kind", [PosixBackend, BtrfsBackend, CephFsBackend])
def test_a_wrapper_has_the_skills_of_the_backend_inside(
    kind: type[MountedBackend], tmp_path: Path
) -> None:
    inner = kind(Mount("volume", tmp_path))
    for wrapper in (
        FaultyBackend(inner, tmp_path / "absent"),
        PrivilegedQuotaBackend(inner, tmp_path),
    ):
        for skill in SKILLS:
            assert (wrapper.skill(skill) is None) == (inner.skill(skill) is None), skill
        assert possible_capabilities(wrapper) == possible_capabilities(inner)
        twice = FaultyBackend(wrapper, tmp_path / "absent")
        assert possible_capabilities(twice) == possible_capabilities(inner)


def test_a_skill_is_reached_through_the_wrapper_that_defines_it(tmp_path: Path) -> None:
    inner = BtrfsBackend(Mount("volume", tmp_path))
    faulty, privileged = (
        FaultyBackend(inner, tmp_path / "absent"),
        PrivilegedQuotaBackend(inner, tmp_path),
    )
    assert faulty.skill(HasSnapshots) is faulty
    assert privileged.skill(HasSnapshots) is inner
    assert privileged.skill(MountedBackend) is privileged


def test_every_call_that_a_wrapper_passes_on_can_fail() -> None:
    passed_on = {name for name, value in vars(Wrapper).items() if callable(value)}
    calls = {name for name in passed_on if not name.startswith("_")}
    assert calls - set(vars(FaultyBackend)) == {"inner_as", "skill", "vfolder_path"}


def test_faults_reach_calls_through_a_skill(tmp_path: Path) -> None:
    top, faults = tmp_path / "top", tmp_path / "faults.toml"
    top.mkdir()
    backend = FaultyBackend(PosixBackend(Mount("volume", top)), faults)
    scope = QuotaScope(ScopeKind.USER, uuid4())
    backend.create_scope(scope)
    mounted = backend.skill(MountedBackend)
    assert mounted is not None
    faults.write_text('error = "ETIMEDOUT"')
    with pytest.raises(DeadlineExceeded):
        mounted.open_scope(scope)
    faults.write_text("full = true")
    with pytest.raises(NoSpace):
        backend.create_scope(QuotaScope(ScopeKind.USER, uuid4()))
    capacity = backend.capacity()
    assert capacity.used_bytes == capacity.capacity_bytes
    faults.unlink()
    with mounted.open_scope(scope) as directory:
        assert directory > 0


def test_without_a_worker_only_scopes_are_unavailable(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    backend = PrivilegedQuotaBackend(PosixBackend(Mount("volume", top)), tmp_path / "no-worker")
    with pytest.raises(Unavailable):
        backend.create_scope(QuotaScope(ScopeKind.USER, uuid4()))
    assert backend.probe()
