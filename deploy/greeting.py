"""The text for people when the node is up: addresses, files, and commands to try."""

import shlex
import subprocess
import sys
from pathlib import Path
from uuid import NAMESPACE_OID, UUID, uuid5

from core.errors import ConfigurationError
from core.settings import Settings, find
from deploy import listeners

_HEADER = "X-BackendAI-Storage-Auth-Token"
_PATHS = {"manager": "/docs", "internal": "/metrics"}
_NOTES = {
    "manager": "the API",
    "client": "uploads and downloads, by ticket",
    "internal": "metrics and probes",
    "flower": "user {user}, password in the file below",
}
#: How long a link that signs in takes to be made at most (seconds).
_LINK_SECONDS = 60.0
#: The user of the links of the greeting.
_NAME = "me"


def greeting(settings: Settings, sign_in: str = "") -> str:
    """Return addresses, files and next commands.

    The only secret is `sign_in`, a link that signs one browser in, once.
    """
    vfolder = _shown(Path(sys.executable).parent / "vfolder")
    urls = {one.process: one for one in listeners.of(settings)}
    manager = urls["manager"].url
    trust = _trust(urls["manager"])
    config, named = _shown(Path(settings.origin)), _option(settings)
    secret = f'"{_HEADER}: $({vfolder} config get api.manager.secret{named})"'
    lines = ["", "The node runs.", "", *_addresses(settings), ""]
    if sign_in:
        lines += [
            "Open this within two minutes; it signs your browser in, once:",
            f"  {sign_in}",
            "",
        ]
    lines += [f"  settings and secrets   {config} (keep it private)"]
    lines += [
        f"  volume {name} ({volume.backend})   {_shown(settings.volume_path(volume))}"
        for name, volume in settings.volume.items()
    ]
    lines += [
        "",
        "Try next, in another shell:",
        f"  {vfolder} config check{named}",
        f"  curl -s{trust} {manager}/volumes -H {secret}",
        *_console_hints(settings, vfolder, named),
        f"  {vfolder} demo{named}",
        "",
        "Ctrl-C drains and stops everything.",
        "",
    ]
    return "\n".join(lines)


def console_of(settings: Settings) -> str:
    """Return the address of the console; empty where there is none."""
    if settings.vfolder.access is None or not settings.vfolder.console.enabled:
        return ""
    found = next(one for one in listeners.of(settings) if one.process == "client")
    return f"{(settings.vfolder.doors.client_url or found.url).rstrip('/')}/console"


def sign_in_link(settings: Settings) -> str:
    """Return a link that signs a browser in to the console, once, and makes its user.

    Empty where there is no console, or where the command that makes it fails: it says why on
    stderr. Costs the start of a program.
    """
    if not console_of(settings):
        return ""
    words = ["access", "user", _NAME, "--id", str(_first_user(settings)), "--link"]
    command = [sys.executable, "-m", "api.cli", *words, "--config", settings.origin]
    try:
        made = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=_LINK_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return ""
    return made.stdout.strip() if made.returncode == 0 else ""


def _first_user(settings: Settings) -> UUID:
    """Return the id of the user of the greeting's links: on one node always the same."""
    return uuid5(NAMESPACE_OID, f"vfolder {_NAME} {settings.storage_proxy.node_id}")


def _option(settings: Settings) -> str:
    """Return the option that names the file to a command here; empty where it is found without."""
    try:
        if find({}) == Path(settings.origin):
            return ""
    except ConfigurationError:
        pass  # there is none where commands look
    return f" --config {shlex.quote(_shown(Path(settings.origin)))}"


def _console_hints(settings: Settings, vfolder: str, named: str) -> list[str]:
    """Return the command that signs a browser in."""
    if not console_of(settings):
        return []
    user = f"{_NAME} --id {_first_user(settings)}"
    return [f"  {vfolder} access user {user} --link{named}  # signs a browser in, once"]


def _addresses(settings: Settings) -> list[str]:
    shown, flower = [], settings.vfolder.flower
    for one in listeners.of(settings):
        if one.process == "redis":
            shown.append(f"  {one.title:<14} {one.address} (password in the file below)")
            continue
        path = flower.path if one.process == "flower" else _PATHS.get(one.process, "/")
        url = f"{one.url}{path}"
        note = _NOTES[one.process].format(user=flower.user)
        shown.append(f"  {one.title:<14} {url:<38} {note}")
    if console := console_of(settings):
        shown.append(f"  {'console':<14} {console:<38} files in a browser; a link signs you in")
    else:
        shown.append("  console        off; the table [vfolder.access] turns it on")
    if not flower.password:
        shown.append("  Flower         off; [vfolder.flower] password turns it on")
    return shown


def _trust(door: listeners.Listener) -> str:
    """Return the option with which curl(1) trusts the certificate of a door."""
    if door.certificate is None:
        return ""
    return f" --cacert {_shown(door.certificate)}" if door.trusted_name() else " --insecure"


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
