"""Requests to the manager door; errors tell a person what to do next.

The command line uses only this API: no store, no volume, no Celery.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click
import requests

from api.cli.forms import (
    DOOR_OPTIONS,
    FAILED,
    USAGE,
    ApiRefused,
    chosen_options,
    chosen_output,
    door_options,
)
from core.errors import ConfigurationError, Forbidden
from core.process import certificate_files, pinned_tls
from core.settings import find, load

HEADER = "X-BackendAI-Storage-Auth-Token"
#: How long a door may take to accept a connection, and then to send bytes (seconds).
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 60.0
#: What to do next, by the first part of the path that was not found.
_NOT_FOUND = {
    "/v1/jobs": "`vfolder jobs list` shows the known jobs",
    "/v1/nodes": "`vfolder nodes` shows the known nodes",
    "/v1/volumes": "`vfolder volumes` shows the known volumes",
}
_FORBIDDEN_HINT = (
    "name the secret's file with --secret-file, or the configuration with VFOLDER_CONFIG"
)
_AWAY = "try again shortly; `vfolder nodes` shows who is alive"


@dataclass(frozen=True, slots=True)
class Manager:
    """The manager door: its URL, and a session with its secret."""

    url: str
    session: requests.Session

    def send(self, method: str, path: str, **options: Any) -> requests.Response:  # noqa: ANN401 - as requests takes them
        """Send a request and return any answer.

        Raises:
            ApiRefused: the door does not answer.
        """
        options.setdefault("timeout", (CONNECT_SECONDS, ANSWER_SECONDS))
        try:
            return self.session.request(method, self.url + path, **options)
        except requests.exceptions.SSLError as error:
            raise ApiRefused(
                f"The certificate of the door at {self.url} is not trusted here.",
                "set REQUESTS_CA_BUNDLE to the file of the authority that signed it",
            ) from error
        except requests.RequestException as error:
            if isinstance(error, ValueError):  # an address that requests cannot read
                hint = "write http://host:port"
                raise ApiRefused(
                    f"{self.url} is not the address of a door.", hint, USAGE
                ) from error
            raise ApiRefused(
                f"The manager door at {self.url} does not answer.",
                "start the node with `vfolder up`, or name another door with --url",
            ) from error

    def request_json(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401 - any JSON value
        """Send a request and return the JSON of a successful answer.

        Raises:
            ApiRefused: the door does not answer, or refuses the request.
        """
        response = self.send(method, path, **options)
        check_success(response)
        return response.json() if response.content else None


def check_success(response: requests.Response) -> None:
    """Raise the error of an answer that is no success.

    Raises:
        ApiRefused: the door refused the request; exit status 2 when the request was wrong.
    """
    if response.ok:
        return
    try:
        problem = response.json()
        detail = f"{problem['detail']} [{problem['error_code']}]"
    except (ValueError, KeyError, TypeError):
        raise ApiRefused(
            f"The server that answered is not a manager door (status {response.status_code}).",
            "name the manager door with --url; by default it listens on port 6022",
        ) from None
    fields = tuple(
        f"{field['pointer']}: {field['detail']}" for field in problem.get("errors") or []
    )
    hint = _hint(response, problem)
    exit_code = USAGE if response.status_code in (400, 422) else FAILED
    more = () if len(fields) == 1 and fields[0] in detail else fields
    raise ApiRefused(detail, hint, exit_code, more)


def _hint(response: requests.Response, problem: dict[str, Any]) -> str:
    """Return what to do next: it fits this error, or there is none."""
    if job := problem.get("job_id"):
        return f"`vfolder jobs show {job}` shows that job"
    match response.status_code:
        case 403 if problem.get("title") == Forbidden.title:
            return _FORBIDDEN_HINT
        case 404:
            path = response.request.path_url
            return next((hint for top, hint in _NOT_FOUND.items() if path.startswith(top)), "")
        case 503:
            return _AWAY
    return ""


def manager_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the manager door to a command; its arguments are the door and `output`."""
    return _with_door(command, _manager)


def any_door_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """As `manager_options`, for routes that both doors have.

    Where this machine has no configuration of a node and no secret is named, the door is that of
    the context of `vfolder login`, or of VFOLDER_KEY_FILE.
    """
    return _with_door(command, _any_door)


def _with_door(
    command: Callable[..., Any], opened: "Callable[[str | None, Path | None], Manager]"
) -> Callable[..., Any]:
    @door_options
    @wraps(command)
    def wrapped(**given: Any) -> Any:  # noqa: ANN401 - click passes any
        for name in DOOR_OPTIONS:
            given.pop(name)
        chosen = chosen_options("url", "secret_file")
        secret_file = chosen["secret_file"] or _secret_file_of_environment()
        door = opened(chosen["url"] or os.environ.get("VFOLDER_URL"), secret_file)
        return command(door, output=chosen_output(), **given)

    return wrapped


def _secret_file_of_environment() -> Path | None:
    name = os.environ.get("VFOLDER_SECRET_FILE")
    if not name:
        return None
    if not Path(name).is_file():
        raise click.UsageError(f"VFOLDER_SECRET_FILE: {name} does not exist.")
    return Path(name)


def _manager(url: str | None, secret_file: Path | None) -> Manager:
    secret = secret_file.read_text("utf-8").strip() if secret_file else None
    session = requests.Session()
    if url is None or secret is None:
        configured_url, configured_secret = _configured(session)
        url, secret = url or configured_url, secret or configured_secret
    session.headers[HEADER] = secret
    return Manager(url.rstrip("/"), session)


def _any_door(url: str | None, secret_file: Path | None) -> Manager:
    named_key = os.environ.get("VFOLDER_KEY_FILE")
    if secret_file is not None or not (named_key or (url is None and not _has_configuration())):
        return _manager(url, secret_file)
    from vfolder_client import current_context  # noqa: PLC0415 - the manager's commands need it not
    from vfolder_client.errors import ContextError  # noqa: PLC0415 - as above

    try:
        context = current_context()
    except ContextError as error:
        if named_key:
            raise ApiRefused(str(error), exit_code=USAGE) from None
        return _manager(url, secret_file)  # which says what is missing
    session = requests.Session()
    session.auth = _bearer(context.key)
    session.verify = context.ca or True
    return Manager(context.url, session)


def _has_configuration() -> bool:
    try:
        find(os.environ)
    except ConfigurationError:
        return False
    return True


def _bearer(key: str) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Return what adds the key to a request, and keeps requests from adding that of ~/.netrc."""

    def add(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {key}"
        return request

    return add


def _configured(session: requests.Session) -> tuple[str, str]:
    """Return the URL and the secret of the door of this node, whose certificate is trusted then."""
    try:
        settings = load(ask_etcd=False)
        door = settings.api.manager
        url = f"{door.scheme}://{door.address.local}"
        if certificate := certificate_files("manager", settings).get("ssl-cert"):
            session.mount(url, pinned_tls.PinnedAdapter(certificate))
    except ConfigurationError as error:
        raise ApiRefused(
            error.detail, "or give both --url and --secret-file", exit_code=USAGE
        ) from None
    return url, door.secret
