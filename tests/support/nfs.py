"""A real NFS server and client, version 4.2, inside the user-mode kernel and its own loopback."""

import subprocess
from pathlib import Path

from tests.support.loops import run

#: Where `tests/support/uml.sh` has the kernel's modules.
MODULES = "/run/root"
_STATE = Path("/run/nfs")
#: The client caches attributes and names for this many seconds (nfs(5)).
CACHE_SECONDS = 3
OPTIONS = f"vers=4.2,proto=tcp,addr=127.0.0.1,clientaddr=127.0.0.1,actimeo={CACHE_SECONDS}"


def share(export: Path) -> None:
    """Let the client reach the directory."""
    options = "rw,no_root_squash,insecure,fsid=0,no_subtree_check"
    run("exportfs", "-o", options, f"127.0.0.1:{export}")


def unshare() -> None:
    """Make every handle of the client stale."""
    run("exportfs", "-ua")
    run("exportfs", "-f")


def _serve(export: Path) -> None:
    for module in ("nfsd", "nfsv4", "nfs"):
        run("modprobe", "-d", MODULES, module)
    for below in ("sm", "sm.bak", "v4recovery", "rpc_pipefs", "nfsdcld"):
        (_STATE / below).mkdir(parents=True, exist_ok=True)
    for name in ("etab", "rmtab", "state"):
        (_STATE / name).touch()
    Path("/run/rpc_pipefs").mkdir()
    run("mount", "--bind", str(_STATE), "/var/lib/nfs")
    run("mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd")
    run("mount", "-t", "rpc_pipefs", "sunrpc", "/run/rpc_pipefs")
    run("rpc.mountd", "-N", "3")
    share(export)
    subprocess.run(
        ["rpc.nfsd", "-N", "3", "-V", "4.2", "-H", "127.0.0.1", "-G", "1", "-L", "10", "2"],
        check=False,
        capture_output=True,
    )


def volume(export: Path) -> tuple[Path, Path]:
    """A directory at an NFS client and at the server; mounted until the kernel is switched off."""
    top = Path("/run/nfs-client")
    if not top.exists():
        export.mkdir()
        _serve(export)
        top.mkdir()
        run("mount", "-t", "nfs4", "-o", OPTIONS, "127.0.0.1:/", str(top))
    return top, export
