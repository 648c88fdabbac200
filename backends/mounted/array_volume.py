"""Mounted volumes of an array that is asked by REST for what the mount does not know."""

from abc import abstractmethod
from contextlib import AbstractContextManager

from backends.base import HardwareInfo, HardwareStatus, Mount
from backends.mounted.posix import PosixBackend
from backends.rest import deadline
from core.errors import StorageError


class ArrayBackend(PosixBackend):
    """A mounted volume whose array is asked for its health; never raises for that."""

    def __init__(self, mount: Mount, deadline_seconds: float) -> None:
        super().__init__(mount)
        self._deadline_seconds = deadline_seconds

    def hardware(self) -> HardwareInfo:
        """See `Backend.hardware`: what the mount says, then what the array says."""
        try:
            PosixBackend.probe(self)
        except StorageError as error:
            return HardwareInfo(HardwareStatus.OFFLINE, error.detail)
        try:
            with self._in_time():
                return self._health()
        except StorageError as error:
            return HardwareInfo(HardwareStatus.UNAVAILABLE, error.detail)

    @abstractmethod
    def _health(self) -> HardwareInfo:
        """Ask the array how it is."""

    def _in_time(self) -> AbstractContextManager[None]:
        """Everything that an act asks the array ends with the act's deadline."""
        return deadline.within(self._deadline_seconds)
