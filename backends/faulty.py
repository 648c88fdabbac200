"""faulty: any other backend, made slow, full, broken or hung on purpose.

    [volume.bad]
    backend = "faulty"
    path = "/mnt/bad"
    [volume.bad.options]
    backend = "vfs"                     # whose calls suffer
    faults = "/run/vfolder/bad.toml"    # read before every call; absent means healthy

The file says what is wrong at the moment, all keys optional:

    delay_seconds = 1.5    # every call takes that much longer
    hang = true            # calls wait until the file says otherwise
    error = "EIO"          # calls fail with that error of the operating system
    full = true            # nothing can be made, the volume has no byte left

For tests of everything above a backend, and for drills.
"""

import errno
import functools
import os
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, ParamSpec, TypeVar

from msgspec import Struct, convert

from backends.base import Backend, Capacity, Mount
from backends.fs import translate
from core.errors import ConfigurationError, NoSpace

#: How often a hung call looks whether it may go on.
POLL_SECONDS = 0.02
#: Acts that need room on the volume.
_MAKING = frozenset({"create_scope", "create_vfolder", "set_limit"})

_inside = threading.local()
P = ParamSpec("P")
T = TypeVar("T")


class Faults(Struct, frozen=True, forbid_unknown_fields=True):
    """What is wrong at the moment."""

    delay_seconds: float = 0.0
    hang: bool = False
    error: str = ""
    full: bool = False

    @classmethod
    def read(cls, path: Path) -> "Faults":
        """What the file says; nothing is wrong when it is absent."""
        try:
            return convert(tomllib.loads(path.read_text("utf-8")), cls)
        except FileNotFoundError:
            return cls()


class FaultyBackend(Backend):
    """Makes an instance of the other backend's class whose every call suffers first."""

    name: ClassVar[str] = "faulty"

    def __new__(cls, mount: Mount) -> Any:  # noqa: ANN401 - an instance of a class made here  # type: ignore[misc] # ditto
        """A suffering instance of the backend that the options name."""
        from backends.volumes import backend_class  # noqa: PLC0415 - the registry knows us first

        options = dict(mount.options)
        inner = options.pop("backend", "vfs")
        faults = options.pop("faults", "")
        if inner == cls.name or not faults:
            raise ConfigurationError(
                f"[volume.{mount.volume}.options]: `backend` names another backend and `faults` "
                "a file.",
            )
        return _suffering(backend_class(inner), Path(faults))(
            Mount(mount.volume, mount.path, options),
        )


def _suffering(inner: type[Backend], faults: Path) -> type[Backend]:
    acts = {name: _suffer(name, getattr(inner, name), faults) for name in _acts(inner)}
    return type(f"Faulty{inner.__name__}", (inner,), {**acts, "name": FaultyBackend.name})


def _acts(inner: type[Backend]) -> list[str]:
    """What touches the storage: the contract, and the skills the class has beyond it."""
    quiet = {"vfolder_path", "name", "mount"}
    return [
        name
        for name in dir(inner)
        if not name.startswith("_") and name not in quiet and callable(getattr(inner, name))
    ]


def _suffer(name: str, act: Callable[P, T], faults: Path) -> Callable[P, T]:
    @functools.wraps(act)
    def suffering(*args: P.args, **kwargs: P.kwargs) -> T:
        if getattr(_inside, "call", False):  # a call of the backend to itself suffers once
            return act(*args, **kwargs)
        now = _endure(faults)
        if now.full and name in _MAKING:
            raise NoSpace("The volume is full; free some space or ask for another volume.")
        _inside.call = True
        try:
            result = act(*args, **kwargs)
        finally:
            _inside.call = False
        if now.full and isinstance(result, Capacity):
            return Capacity(result.capacity_bytes, result.capacity_bytes)  # type: ignore[return-value] # T is Capacity here
        return result

    return suffering


def _endure(faults: Path) -> Faults:
    """Wait or fail as the file says."""
    while (now := Faults.read(faults)).hang:
        time.sleep(POLL_SECONDS)
    if now.delay_seconds:
        time.sleep(now.delay_seconds)
    if now.error:
        number = getattr(errno, now.error)
        raise translate(OSError(number, os.strerror(number)))
    return now
