from backends.tree.plain import Copied, Scanned, Unlinked

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
def openat2(root: int, path: str, flags: int, resolve: int, /) -> int: ...
