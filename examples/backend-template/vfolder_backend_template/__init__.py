"""A storage backend for vfolder: a mounted directory whose storage system reports its speed.

The storage system writes a small JSON file every few seconds, with the fields of
`backends.base.PerformanceMetric`. Copy this package, rename it, and replace what is yours.
"""

import os
import time
from pathlib import Path
from typing import ClassVar

import msgspec

from backends.base import Mount, PerformanceMetric
from backends.mounted import MountedOptions, PosixBackend
from core.errors import BackendFailed, ConfigurationError

__all__ = ["TemplateBackend", "TemplateOptions"]

#: A status file that is older than this is no longer the present speed.
STATUS_AGE_MAX_SECONDS = 60.0


class TemplateOptions(MountedOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a volume. vfolder checks names and types before it calls the class."""

    #: The file that the storage system writes; an absolute path.
    status_file: str


class TemplateBackend(PosixBackend):
    """Directories of a mount, and the skill `HasMetric`.

    The parent brings quota scopes, vfolders, and limits that the service enforces (soft limits).
    """

    name: ClassVar[str] = "template"
    options_type: ClassVar[type[msgspec.Struct] | None] = TemplateOptions

    def __init__(self, mount: Mount) -> None:
        super().__init__(mount)
        options = msgspec.convert(dict(mount.options), TemplateOptions)
        self._status_file = Path(options.status_file)
        if not self._status_file.is_absolute():
            raise ConfigurationError(
                f"[volume.{mount.volume}.options] status_file must be an absolute path."
            )

    def lacking(self) -> frozenset[str]:
        """See `Backend.lacking`: no rates while there is no fresh status file."""
        try:
            self.performance()
        except BackendFailed:
            return frozenset({"metric"})
        return frozenset()

    def performance(self) -> PerformanceMetric:
        """See `HasMetric.performance`; costs one small read.

        Raises:
            BackendFailed: the status file is missing, old, or not as described.
        """
        try:
            with self._status_file.open("rb") as file:
                age_seconds = time.time() - os.fstat(file.fileno()).st_mtime
                status = msgspec.json.decode(file.read(), type=PerformanceMetric)
        except (OSError, msgspec.MsgspecError) as error:
            raise BackendFailed(
                f"The status file of volume {self.mount.volume} cannot be read: "
                f"{type(error).__name__}.",
            ) from error
        if age_seconds > STATUS_AGE_MAX_SECONDS:
            raise BackendFailed(
                f"The status file of volume {self.mount.volume} is {age_seconds:.0f} seconds old.",
            )
        return status
