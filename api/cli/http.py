"""One request to the manager door, and its refusals said so that a person knows what to do next.

The command line knows nothing but this API: no store, no volume, no Celery.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click
import requests

from core.errors import ConfigurationError
from core.settings import load

HEADER = "X-BackendAI-Storage-Auth-Token"
#: Exit statuses, as people know them from their shell.
OK, FAILED, USAGE, PARTIAL, CANCELLED = 0, 1, 2, 3, 4
#: How long a door may take to accept a connection, and then to send something (seconds).
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 60.0
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - read, not bound to
_HINTS = {
    403: "name the secret's file with --secret-file, or the configuration with VFOLDER_CONFIG",
    404: "`vfolder jobs list` shows the jobs that are known, `vfolder nodes` the nodes",
    503: "try again shortly; `vfolder nodes` shows who is alive",
}


class ApiRefused(click.ClickException):
    """The door said no, or did not answer."""

    def __init__(self, detail: str, hint: str = "", exit_code: int = FAILED) -> None:
        super().__init__(detail)
        self.hint = hint
        self.exit_code = exit_code  # type: ignore[misc] # click's own sub-classes do the same

    def show(self, file: Any = None) -> None:  # noqa: ANN401 - click's own signature
        """Say it, and what to do next."""
        click.echo(f"Error: {printable(self.message)}", file=file, err=file is None)
        if self.hint:
            click.echo(f"Next: {printable(self.hint)}", file=file, err=file is None)


def printable(text: str) -> str:
    """The text with everything a terminal would obey written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True, slots=True)
class Manager:
    """The manager door as this command reaches it."""

    url: str
    session: requests.Session

    def send(self, method: str, path: str, **options: Any) -> requests.Response:  # noqa: ANN401 - as requests takes them
        """One request; any answer.

        Raises:
            ApiRefused: no answer at all.
        """
        options.setdefault("timeout", (CONNECT_SECONDS, ANSWER_SECONDS))
        try:
            return self.session.request(method, self.url + path, **options)
        except requests.exceptions.SSLError as error:
            raise ApiRefused(
                f"The door at {self.url} has no certificate that is trusted here.",
                "set REQUESTS_CA_BUNDLE to the file of the authority that signed it",
            ) from error
        except requests.RequestException as error:
            if isinstance(error, ValueError):  # what requests makes of an address it cannot read
                hint = "write http://host:port"
                raise ApiRefused(f"{self.url} is no address of a door.", hint, USAGE) from error
            raise ApiRefused(
                f"The manager door at {self.url} does not answer.",
                "start the node with `vfolder up`, or name another door with --url",
            ) from error

    def ask(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401 - any JSON value
        """One request; the JSON of a good answer.

        Raises:
            ApiRefused: no answer, or a refusal.
        """
        response = self.send(method, path, **options)
        good(response)
        return response.json() if response.content else None


def good(response: requests.Response) -> None:
    """Pass a good answer.

    Raises:
        ApiRefused: it is a refusal; status 2 when the request itself was wrong.
    """
    if response.ok:
        return
    try:
        problem = response.json()
        detail = f"{problem['detail']} [{problem['error_code']}]"
    except (ValueError, KeyError, TypeError):
        raise ApiRefused(
            f"What answered is no manager door ({response.status_code}).",
            "name the manager door with --url; by default it listens on port 6022",
        ) from None
    for wrong in problem.get("errors") or []:
        detail += f"\n  {wrong['pointer']}: {wrong['detail']}"
    hint = _HINTS.get(response.status_code, "")
    if job := problem.get("job_id"):
        hint = f"`vfolder jobs show {job}` tells about that job"
    raise ApiRefused(detail, hint, USAGE if response.status_code in (400, 422) else FAILED)


def manager_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--url`, `--secret-file`, `--json`, and the door as its first argument."""

    @click.option("--url", envvar="VFOLDER_URL", help="The manager door (VFOLDER_URL).")
    @click.option(
        "--secret-file",
        envvar="VFOLDER_SECRET_FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A file with the door's secret (VFOLDER_SECRET_FILE).",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print what the door answers, as JSON.")
    @wraps(command)
    def wrapped(url: str | None, secret_file: Path | None, **given: Any) -> Any:  # noqa: ANN401 - click passes any
        return command(_manager(url, secret_file), **given)

    return wrapped


def _manager(url: str | None, secret_file: Path | None) -> Manager:
    secret = secret_file.read_text("utf-8").strip() if secret_file else None
    if url is None or secret is None:
        configured_url, configured_secret = _configured()
        url, secret = url or configured_url, secret or configured_secret
    session = requests.Session()
    session.headers[HEADER] = secret
    return Manager(url.rstrip("/"), session)


def _configured() -> tuple[str, str]:
    try:
        door = load().api.manager
    except ConfigurationError as error:
        raise ApiRefused(
            error.detail, "or give both --url and --secret-file", exit_code=USAGE
        ) from None
    host = _ANY_ADDRESS.get(door.address.host, door.address.host)
    scheme = "https" if door.ssl_enabled else "http"
    return f"{scheme}://{host}:{door.address.port}", door.secret


def print_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """One JSON text on a line of its own."""
    click.echo(json.dumps(value))
