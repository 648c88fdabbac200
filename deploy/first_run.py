"""The configuration of a first start: random secrets, one volume, nothing to edit."""

import os
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

SECRET_MODE = 0o600
#: Agents with another user reach the volume below.
_DIRECTORY_MODE = 0o755
_SECRET_BYTES = 24
_PASSWORD_BYTES = 18

_TEXT = """\
# vfolder's configuration, written at the first start. It holds secrets: keep it private.
# `vfolder config check` prints every setting with its effective value.

[storage-proxy]
node-id = "{node}"
secret = "{ticket_secret}"  # signs download and upload tickets
session-expire = "1d"

[api.client]
service-addr = "127.0.0.1:{ports.client}"

[api.manager]
service-addr = "127.0.0.1:{ports.manager}"
announce-addr = "127.0.0.1:{ports.manager}"
internal-addr = "127.0.0.1:{ports.internal}"
secret = "{manager_secret}"  # the header X-BackendAI-Storage-Auth-Token

[volume.local]
backend = "vfs"
path = "volumes/local"  # relative to this file

[vfolder.redis]
# The embedded store. For an outside Redis or Valkey replace both lines by
# url = "redis://:password@host:6379"
port = {ports.store}
password = "{store_password}"

[vfolder.flower]
addr = "127.0.0.1:{ports.flower}"
user = "operator"
password = "{flower_password}"

# With this table people have vfolders of their own, by keys and in a browser: see the README.
# Without it only the manager is known.
[vfolder.access]
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the processes of one node listen on 127.0.0.1."""

    manager: int = 6022
    client: int = 6021
    internal: int = 16023
    store: int = 16379
    flower: int = 5555

    @classmethod
    def free(cls) -> "Ports":
        """Return free ports; each is held open until all are chosen."""
        sockets = [socket.socket() for _ in cls.__slots__]
        try:
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            return cls(*(one.getsockname()[1] for one in sockets))
        finally:
            for one in sockets:
                one.close()


def ensure(path: Path, ports: Ports | None = None) -> bool:
    """Write the configuration and create the volume's directory, unless the file exists.

    Return whether it was written. The file appears complete or not at all, with mode 0600.
    """
    if path.exists():
        return False
    for made in (path.parent, path.parent / "volumes", path.parent / "volumes" / "local"):
        make_open(made)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")  # a crash may leave it
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_MODE), "w") as file:
        file.write(_text(ports or Ports()))
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(fresh)  # unlike a rename, it never replaces the file of another start
    except FileExistsError:
        return False
    finally:
        fresh.unlink()
    return True


def make_open(directory: Path) -> None:
    """Make a directory that other users enter, whatever the umask of the shell is."""
    if not directory.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(_DIRECTORY_MODE)


def _text(ports: Ports) -> str:
    return _TEXT.format(
        node=re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname()) or "node",
        ports=ports,
        ticket_secret=secrets.token_urlsafe(_SECRET_BYTES),
        manager_secret=secrets.token_urlsafe(_SECRET_BYTES),
        store_password=secrets.token_urlsafe(_PASSWORD_BYTES),
        flower_password=secrets.token_urlsafe(_PASSWORD_BYTES),
    )
