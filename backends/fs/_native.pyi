from collections.abc import Callable, Sequence
from typing import TypeVar, overload

from backends.fs.native import (
    Copied,
    Detail,
    Details,
    MakeFile,
    NameStatus,
    PlannedEntry,
    ReadFile,
    Scanned,
    Unlinked,
)

_T = TypeVar("_T")

def openat2(root: int, path: str, flags: int, mode: int, resolve: int, /) -> int: ...
def open_file(
    root: int, path: str, flags: int, resolve: int, most: int, /
) -> tuple[int, int, int, int, int, bytes | None]: ...
def open_marked(
    top: str, mark: str, path: str, flags: int, resolve: int, /
) -> tuple[int, int, int, int]: ...
def names(fd: int, /) -> list[str]: ...
def stats(fd: int, names: list[bytes], /) -> list[NameStatus | None]: ...
@overload
def details(fd: int, /) -> Details[Detail] | None: ...
@overload
def details(fd: int, make: MakeFile[_T], longest: int, /) -> Details[_T | Detail] | None: ...
def read(directory: int, names: list[bytes], sizes: list[int], /) -> list[ReadFile]: ...
def scan(fd: int, want_names: bool, now: int = 0, /) -> Scanned | None: ...
def copy(
    source: int,
    target: int,
    uid: int,
    gid: int,
    noatime: bool,
    xattrs: bool,
    flags: bool,
    stop: bytearray,
    /,
) -> Copied | None: ...
def unlink(
    fd: int, many: bool, below: int, group_bits: int, stop: bytearray, /
) -> Unlinked | None: ...
def zip_files(
    top: int,
    groups: Sequence[tuple[bytes, bytes, Sequence[PlannedEntry]]],
    checksum: Callable[[memoryview], int],
    /,
) -> tuple[bytes, bytes] | None: ...
def zip_records(
    prefix: bytes,
    entries: Sequence[PlannedEntry],
    checksums: bytes,
    offset: int,
    largest: int,
    /,
) -> tuple[bytes, int] | None: ...
