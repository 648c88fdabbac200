"""The volume under test, and what is known about kinds of storage."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from backends.base import (
    Backend,
    Enforcement,
    HasFastUsage,
    HasFileClone,
    HasInodeLimits,
    HasMetric,
    HasObjectFiles,
    HasQuota,
    HasSnapshots,
    HasSoftLimits,
    Mount,
    MountedBackend,
)
from backends.tree import Aspect
from backends.volumes import BackendFactory, create_backend
from contract.deaths import ALL, Part
from core import settings as configuration
from core.errors import ConfigurationError

S = TypeVar("S")
#: What a volume keeps, as modules of the suite say it in `KEEPS`; without it they are about files.
FILES, OBJECTS = "files", "objects"


@dataclass(frozen=True)
class Kind:
    """Facts about a kind of storage system."""

    #: Attributes that its file system cannot keep; a copy may lack them.
    cannot_keep: frozenset[Aspect] = frozenset()
    #: Whether it has POSIX ACLs.
    has_acls: bool = True
    #: Bytes that usage may pass a limit before writers are stopped; None: never stopped.
    lateness_bytes: int | None = None
    #: Whether writers are stopped only after the usage was reported, which takes some time.
    reported_late: bool = False
    #: Whether a scope that another tool made as a plain directory can get a limit.
    adopts: bool = True
    #: A change is killed before each of these system calls; empty: before all of its calls.
    deadly_calls: tuple[str, ...] = ()
    #: The number of scopes for tests with many.
    many_scopes: int = 80  # more than fit into one answer of a kernel
    #: Skills that it must have; tests of any other skill that it lacks are skipped.
    skills: tuple[type, ...] = ()
    #: Whether also the usage of a scope needs rights.
    reads_need_rights: bool = False
    #: Who enforces a limit, and that as a process without rights sees it.
    enforced: Enforcement = "hard"
    enforced_without_rights: Enforcement = "hard"
    #: The directory of snapshots, where the simulator's mount lists it and a real one does not.
    listed_snapshots: str = ""


#: An array. An exchange with it has hundreds of system calls; the deadly ones send, and change the
#: mount. The simulators' directories are on btrfs.
_ARRAY = Kind(lateness_bytes=1 << 20, deadly_calls=("write", "rename"), many_scopes=8)
KINDS = {
    "xfs": Kind(lateness_bytes=0, skills=(HasInodeLimits, HasQuota, HasSoftLimits)),
    "ext4": Kind(lateness_bytes=0, skills=(HasInodeLimits, HasQuota, HasSoftLimits)),
    # what is written is counted when it is committed; metadata in blocks of 16 KiB
    "btrfs": Kind(lateness_bytes=1 << 20, adopts=False, skills=(HasQuota, HasSnapshots)),
    # a client notices a full scope a second late; it has no inode flags and no holes
    "cephfs": Kind(
        cannot_keep=frozenset({Aspect.FLAGS, Aspect.HOLES}),
        lateness_bytes=24 << 20,
        reported_late=True,
        skills=(HasFastUsage, HasMetric, HasQuota, HasSnapshots),
    ),
    # NFS 4.2 has no inode flags and no POSIX ACLs
    "nfs": Kind(cannot_keep=frozenset({Aspect.FLAGS, Aspect.HOLES}), has_acls=False),
    # what a writer may pass depends on the targets; the result of the trial needs rights
    "exascaler": Kind(
        lateness_bytes=24 << 20,
        enforced_without_rights="unknown",
        deadly_calls=("renameat",),
        many_scopes=4,
        skills=(HasQuota,),
    ),
    "hammerspace": replace(_ARRAY, skills=(HasQuota, HasSnapshots)),
    "weka": replace(_ARRAY, skills=(HasMetric, HasQuota, HasSnapshots, HasSoftLimits)),
    "vast": replace(
        _ARRAY, skills=(HasInodeLimits, HasMetric, HasQuota, HasSnapshots, HasSoftLimits)
    ),
    "dellemc-onefs": replace(_ARRAY, skills=(HasMetric, HasQuota, HasSnapshots)),
    "gpfs": replace(
        _ARRAY,
        adopts=False,
        skills=(HasInodeLimits, HasMetric, HasQuota, HasSnapshots, HasSoftLimits),
    ),
    "netapp": replace(
        _ARRAY,
        adopts=False,
        skills=(
            HasFastUsage,
            HasFileClone,
            HasInodeLimits,
            HasMetric,
            HasQuota,
            HasSnapshots,
            HasSoftLimits,
        ),
    ),
    "purestorage": Kind(
        lateness_bytes=0,
        deadly_calls=("write", "rename", "mkdirat", "unlinkat", "fsync"),
        skills=(HasFastUsage, HasMetric, HasSnapshots),
    ),
}


def kind_of(name: str) -> Kind:
    """Return the facts about a kind; an unknown one keeps everything and is never late."""
    return KINDS.get(name, Kind(lateness_bytes=0))


@dataclass(frozen=True)
class Site:
    """A volume under test, and the facts about its kind."""

    backend: MountedBackend
    kind: Kind
    #: Makes backends of this kind; the backend's class when left out.
    make: BackendFactory | None = None
    #: Which of the points of death are tried; another site of the same code may have the others.
    deaths: Part = ALL

    def another(self, mount: Mount) -> MountedBackend:
        """Make another backend of this kind, on the same volume or elsewhere."""
        return mounted_backend((self.make or type(self.backend))(mount))

    @property
    def keeps(self) -> str:
        """Return what the volume keeps: `FILES` or `OBJECTS`."""
        return OBJECTS if self.backend.skill(HasObjectFiles) is not None else FILES

    def skilled(self, skill: type[S]) -> S:
        """Return a skill of the backend; skip the test of a backend that need not have it."""
        found = self.backend.skill(skill)
        if found is None:
            assert skill not in self.kind.skills, f"{self.backend.name} lost {skill.__name__}"
            pytest.skip(f"a backend without {skill.__name__}")
        return found


def mounted_backend(backend: Backend) -> MountedBackend:
    """Return the skill that the suite is about.

    Raises:
        ConfigurationError: the backend has no mounted directory.
    """
    found = backend.skill(MountedBackend)
    if found is None:
        raise ConfigurationError(f"The backend {backend.name!r} serves no mounted directory.")
    return found


def configured(name: str, file: str) -> Site:
    """Return a site's own volume, from its own configuration.

    Raises:
        ConfigurationError: the file or an option is wrong, or the file has no such volume.
    """
    settings = configuration.load(Path(file))
    table = settings.volume.get(name)
    if table is None:
        known = ", ".join(sorted(settings.volume)) or "none"
        raise ConfigurationError(f"There is no [volume.{name}]; the volumes are: {known}.")
    mount = Mount(name, settings.volume_path(table), table.backend_options)
    return Site(
        mounted_backend(create_backend(table.backend, mount)),
        kind_of(table.backend),
        partial(create_backend, table.backend),
    )
