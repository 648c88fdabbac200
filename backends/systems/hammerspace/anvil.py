"""The interface of an Anvil, the management node: options, login, tasks, refusals."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, field

from backends.mounted.rest import (
    ArrayAnswer,
    ArrayEndpoint,
    ArrayOptions,
    ArrayRefusal,
    ArrayRefused,
    ArrayRequest,
    Client,
    body_as,
    jobs,
    shared,
    unknown,
)
from core.errors import BackendFailed, ConfigurationError, DeadlineExceeded

#: Where the interface begins when the address has no path.
API = "/mgmt/v1.2/rest"
#: The state of the cluster: every user may read it.
STATE = "/cntl/state"
#: A new share may take this long (seconds): some 15 seconds mostly, more on a busy Anvil.
MAKING_SECONDS = 45.0
#: Pauses between looks at a task are at most this long (seconds).
_LONGEST_PAUSE_SECONDS = 2.0
_COMPLETED = "COMPLETED"
#: The task is over. Every other state may still have its effect, HALTED and RESUMED too.
_ENDED_BADLY = frozenset({"VALIDATION_FAILED", "FAILED", "CANCELLED"})
_EXECUTING = frozenset({"NONE", "VALIDATING", "EXECUTING"})
#: A task's identifier is the last part of the link to it.
_UUID = re.compile(r"[A-Za-z0-9-]+")
#: Names and values of the cookies in one header. The dates of some cookies contain commas, too.
_COOKIE = re.compile(r"(?:^|,\s*)([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([^;,\s]*)")


class HammerspaceExport(Struct, forbid_unknown_fields=True):
    """Who may mount a share, as the Anvil writes it."""

    subnet: str
    accessPermissions: str = "RW"  # noqa: N815 - the Anvil's name
    rootSquash: bool = False  # noqa: N815 - the Anvil's name


class SslFiles(Struct, forbid_unknown_fields=True):
    """The certificate that identifies this client, and its key."""

    cert_file: str | None = None
    key_file: str | None = None


class HammerspaceOptions(ArrayOptions, frozen=True, kw_only=True):
    """Options of a volume on Hammerspace; Backend.AI's proxy has those without a comment."""

    address: str
    username: str
    password: str
    mount_source: str | None = None
    share_query_retry: int = 5
    share_query_wait_sec: float = 1
    ssl_enabled: bool | None = None
    ssl_config: SslFiles | None = None
    #: The path in Hammerspace's name space of what is mounted.
    base_path: str = "/"
    #: Who may mount new shares; those who may mount the share around them when left out.
    export_options: list[HammerspaceExport] | None = None

    @property
    def verifies(self) -> bool:
        """See `ArrayOptions.verifies`."""
        return self.verify_tls and self.ssl_enabled is not False

    @property
    def base(self) -> str:
        """Return the path of what is mounted, without a slash at its end; empty for the root."""
        return f"/{self.base_path.strip('/')}".rstrip("/")

    @property
    def making_seconds(self) -> float:
        """Return how long a new share may take beyond other calls, in seconds."""
        return max(MAKING_SECONDS, self.share_query_retry * self.share_query_wait_sec)

    @property
    def interface(self) -> tuple[str, str]:
        """Return the address of the Anvil, and the path where its interface begins."""
        address = self.address if "://" in self.address else f"https://{self.address}"
        parts = urlsplit(address)
        return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/") or API

    @property
    def endpoint(self) -> ArrayEndpoint:
        """Return how the Anvil is reached.

        Raises:
            ConfigurationError: the address is no https:// URL, or half a certificate is named.
        """
        target = self.target(self.interface[0])
        files = self.ssl_config or SslFiles()
        if files.cert_file is None and files.key_file is None:
            return target
        if files.cert_file is None or files.key_file is None:
            raise ConfigurationError("ssl_config needs both cert_file and key_file.")
        return replace(target, client_certificate=(files.cert_file, files.key_file))


class TaskParameters(Struct):
    """What a task was given; `name` is that of the share."""

    name: str | None = None


class Task(Struct):
    """A task of the Anvil."""

    uuid: str = ""
    status: str = "NONE"
    statusMessage: str | None = None  # noqa: N815 - the Anvil's name
    paramsMap: TaskParameters | None = field(default_factory=TaskParameters)  # noqa: N815 - same


class Anvil:
    """The interface; one per Anvil, user and process, whatever the number of volumes."""

    def __init__(self, options: HammerspaceOptions) -> None:
        _, self._path = options.interface
        self.client = Client(
            options.endpoint,
            lambda client: self._sign_in(client, options),
            _dialect,
            secrets=(options.password,),
            answer_seconds=options.answer_seconds,
            check=ArrayRequest("GET", self._path + STATE),
        )

    def get(self, path: str, shape: type[Any], /, **query: Any) -> Any:  # noqa: ANN401 - JSON values
        """Return the body of an answer as the required type.

        Raises:
            ArrayRefused, Busy, Lost: as `Client.get`.
        """
        return self.client.get(self._path + path, shape, **query)

    def find(self, path: str, shape: type[Any], /, **query: Any) -> Any:  # noqa: ANN401 - JSON values
        """Return the same as `get`; None when the Anvil answers that there is nothing (404).

        Raises:
            As `get`.
        """
        return self.client.find(self._path + path, shape, **query)

    def request(self, method: str, path: str, **parts: Any) -> ArrayRequest:  # noqa: ANN401 - fields of ArrayRequest
        """Return a request to a path of the interface, whose success has no JSON."""
        return ArrayRequest(method, self._path + path, plain=True, **parts)

    def making(self, name: str) -> Task | None:
        """Return the task that is making a share of this name; None without one."""
        for task in self.get("/tasks", list[Task]):
            if task.status in _EXECUTING and task.paramsMap and task.paramsMap.name == name:
                found: Task = task
                return found
        return None

    def finish(self, task: str | None, effect: Callable[[], bool]) -> None:
        """Wait until a change has its effect; its task, where known, tells why it has none.

        Raises:
            ArrayRefused: the task failed, or was forgotten, and the effect is not there.
            BackendFailed: the task stays halted; the text has its number and its message.
            DeadlineExceeded: the task still runs.
        """
        if task is None:
            jobs.wait(effect, _LONGEST_PAUSE_SECONDS)
            return
        last = Task(task)

        def finished() -> bool:
            nonlocal last
            now = self.find(f"/tasks/{task}", Task)
            if now is None:
                return self._judge(effect, f"has forgotten its task {task}")
            last = now
            if now.status in _ENDED_BADLY:
                words = f"ended its task {task} as {now.status}: {now.statusMessage}"
                return self._judge(effect, words)
            return now.status not in _EXECUTING and effect()

        try:
            jobs.wait(finished, _LONGEST_PAUSE_SECONDS)
        except DeadlineExceeded:
            if last.status in (*_EXECUTING, _COMPLETED):
                raise
            raise BackendFailed(
                f"Hammerspace's task {task} is {last.status} ({last.statusMessage}); an "
                "administrator must resume or cancel it there.",
            ) from None

    @staticmethod
    def _judge(effect: Callable[[], bool], words: str) -> bool:
        if not effect():
            raise ArrayRefused(f"Hammerspace {words}.")
        return True

    def _sign_in(self, client: Client, options: HammerspaceOptions) -> Mapping[str, str]:
        form = {"username": options.username, "password": options.password}
        request = self.request("POST", "/login", form=form)
        answer = client.present(request, "Hammerspace does not know this user.")
        cookies = _COOKIE.findall(answer.headers.get("Set-Cookie", ""))
        if not cookies:
            raise ArrayRefused("Hammerspace's login gave no session.")
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies)}


def connect(options: HammerspaceOptions) -> Anvil:
    """Return this process's connection with the Anvil and the user of the options."""
    key = (
        "hammerspace",
        *(options.endpoint, options.interface, options.username, options.password),
        options.answer_seconds,
    )
    return shared(key, lambda: Anvil(options))


def task_of(answer: ArrayAnswer) -> str | None:
    """Return the task of a 202: its link names another host, so only its end is used."""
    if answer.status != HTTPStatus.ACCEPTED:
        return None
    link = urlsplit(answer.headers.get("Location", "")).path.rstrip("/")
    uuid = link.rpartition("/")[2]
    return uuid if _UUID.fullmatch(uuid) else None


class _Words(Struct):
    message: str = ""
    detail: str = ""
    error: Any = None


def _dialect(answer: ArrayAnswer) -> ArrayRefusal | None:
    """Parse a refusal: 401 and 403 are an expired session, unless the user lacks a right."""
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return None
    plain, said = unknown(answer), body_as(answer, _Words)
    if said is None:
        return plain
    return ArrayRefusal(plain.reason, "", said.message or said.detail)
