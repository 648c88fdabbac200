from backends.tree.plain import Copied, Scanned, Unlinked

def scan(fd: int, want_names: bool, /) -> Scanned | None: ...
def copy(
    source: int,
    target: int,
    uid: int,
    gid: int,
    noatime: bool,
    xattrs: bool,
    flags: bool,
    /,
) -> Copied | None: ...
def unlink(fd: int, many: bool, /) -> Unlinked | None: ...
def openat2(root: int, path: str, flags: int, resolve: int, /) -> int: ...
