"""Settings and servers of doors for tests."""

from pathlib import Path

from core.settings import Settings, load

SECRET = "manager-secret-of-the-tests"
TICKET_SECRET = "ticket-secret-of-the-tests-0123456789"


def settings_in(
    directory: Path, redis_url: str = "redis://127.0.0.1:1", more: str = ""
) -> Settings:
    """Settings with one `vfs` volume `local` below a directory; `more` is further TOML."""
    (directory / "local").mkdir(exist_ok=True)
    path = directory / "storage-proxy.toml"
    path.write_text(
        f"""
[storage-proxy]
node-id = "node1"
secret = "{TICKET_SECRET}"
session-expire = "1d"
[api.client]
service-addr = "127.0.0.1:0"
[api.manager]
secret = "{SECRET}"
[volume.local]
backend = "vfs"
path = "local"
[vfolder.redis]
url = "{redis_url}"
{more}
""",
    )
    return load(path, environ={})
