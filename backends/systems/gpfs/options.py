"""The options of a volume on Storage Scale."""

import re
from typing import Literal

from msgspec import field

from backends.base import Mount
from backends.mounted.rest import ArrayOptions, options_of
from core.errors import ConfigurationError

#: How long the jobs of one change may take beyond other calls (seconds).
JOB_SECONDS = 45.0
_OWNER = re.compile(r"\d+(:\d+)?")
_FILESET_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,200}")


class GpfsOptions(ArrayOptions, frozen=True, kw_only=True):
    """Options of a volume on Storage Scale; those of Backend.AI's proxy have its names."""

    gpfs_endpoint: str | None = None
    #: More GUI nodes of the same cluster: the next one is used when one does not answer.
    gpfs_endpoints: list[str] = field(default_factory=list)
    gpfs_username: str | None = None
    gpfs_password: str | None = None
    #: The name of the file system, such as `fs1`.
    gpfs_fs_name: str
    #: `uid:gid` of new filesets; without it they belong to the owner of the volume's top.
    gpfs_owner: str | None = None
    gpfs_fileset_prefix: str = ""
    #: As `verify_tls`, under the name of Backend.AI's storage proxy.
    gpfs_verify_ssl: bool = True
    #: Accepted for Backend.AI's storage proxy, without effect.
    cluster_id: str | int | None = None
    #: The path of the volume as the cluster knows it, where this node mounts it elsewhere.
    gpfs_path: str | None = None
    #: `v2` asks the GUI, `v3` the API nodes; `commands` runs the mm-commands on this node, which
    #: belongs to the cluster.
    gpfs_interface: Literal["v2", "v3", "commands"] = "v2"
    #: The domain of roles in which requests of `v3` are authorized; the cluster has a default.
    gpfs_domain: str | None = None
    #: Begins every command line, such as ["sudo", "-n"].
    gpfs_command: list[str] = field(default_factory=list)
    gpfs_command_dir: str = "/usr/lpp/mmfs/bin"
    #: `new` makes independent filesets, which can have snapshots; `root` dependent ones.
    gpfs_inode_space: Literal["new", "root"] = "new"
    #: The most inodes of a new independent fileset, and how many are allocated at once.
    gpfs_max_inodes: int | None = None
    gpfs_alloc_inodes: int | None = None
    gpfs_job_seconds: float = JOB_SECONDS

    @property
    def verifies(self) -> bool:
        """See `ArrayOptions.verifies`."""
        return self.verify_tls and self.gpfs_verify_ssl


def options(mount: Mount) -> GpfsOptions:
    """Return the options of a volume.

    Raises:
        ConfigurationError: one is missing or wrong.
    """
    found = options_of(mount, GpfsOptions)
    if found.gpfs_interface != "commands" and not (
        found.gpfs_endpoint and found.gpfs_username and found.gpfs_password
    ):
        raise ConfigurationError(
            "A volume on Storage Scale needs gpfs_endpoint, gpfs_username and gpfs_password, or "
            'gpfs_interface = "commands".'
        )
    if found.gpfs_owner is not None and not _OWNER.fullmatch(found.gpfs_owner):
        raise ConfigurationError("gpfs_owner is a user and a group by number, such as 1000:1000.")
    if not _FILESET_PREFIX.fullmatch(found.gpfs_fileset_prefix):
        raise ConfigurationError("gpfs_fileset_prefix has letters, digits and . _ - only.")
    return found
