"""A storage backend for vfolder: a mounted directory whose storage system reports its speed.

The storage system writes a small JSON file every few seconds, with the fields of
`backends.base.PerformanceMetric`. Copy this package, rename it, and replace what is yours.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from backends.base import Mount, PerformanceMetric
from backends.mounted import PosixBackend
from core.errors import BackendFailed, ConfigurationError

__all__ = ["TemplateBackend"]

#: A status file that is older than this is no longer the present speed.
STATUS_AGE_MAX_SECONDS = 60.0


class TemplateBackend(PosixBackend):
    """Directories of a mount, and the skill `HasMetric`.

    The parent brings quota scopes, vfolders, and limits that the service enforces (soft limits).
    """

    name: ClassVar[str] = "template"

    def __init__(self, mount: Mount) -> None:
        super().__init__(mount)
        self._status_file = _path(mount.options, "status_file", mount.volume)

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


def _path(options: Mapping[str, Any], key: str, volume: str) -> Path:
    """Return an option that names a file.

    Raises:
        ConfigurationError: the option is missing, or not an absolute path.
    """
    value = options.get(key)
    if not isinstance(value, str) or not value.startswith("/"):
        raise ConfigurationError(f"[volume.{volume}.options] {key} must be an absolute path.")
    return Path(value)
