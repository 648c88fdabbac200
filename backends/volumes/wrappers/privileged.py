"""Changes of quota scopes that need rights, requested from the one process that has them.

A web process never runs as root. Where its volume's quota needs root (project ids, subvolumes), it
asks the node's worker. The worker listens on the socket `[vfolder.worker] quota-socket`: one JSON
object in, one out, seven verbs and nothing else. `workers.node.privileged_quota` answers.
"""

import socket
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from backends.base import Backend, HasInodeLimits, HasSoftLimits, QuotaUsage
from backends.volumes.wrappers.wrapper import Wrapper, skilled
from core import errors
from core.errors import BackendFailed, DeadlineExceeded, StorageError, Unavailable
from core.names import QuotaScope

#: How long a process waits for an answer; a tree that is being adopted continues meanwhile.
ANSWER_SECONDS = 60.0
#: The longest message, in bytes.
MESSAGE_MAX = 65_536

Verb = Literal[
    "create_scope",
    "describe_scope",
    "set_limit",
    "unset_limit",
    "set_inode_limit",
    "set_soft_limit",
    "delete_scope",
]


class HelperRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """One change or query of a quota scope."""

    verb: Verb
    volume: str
    scope: str
    #: The limit of the verb; inodes for `set_inode_limit`.
    limit_bytes: int | None = None


class HelperAnswer(Struct, frozen=True):
    """The answer: `refusal` names the class of the error."""

    usage: QuotaUsage | None = None
    refusal: str = ""
    detail: str = ""


class PrivilegedQuotaBackend(Wrapper):
    """A backend whose quota scopes are changed by the worker of the node, over its socket."""

    def __init__(self, inner: Backend, socket_path: Path) -> None:
        super().__init__(inner)
        self._socket_path = socket_path

    def create_scope(self, scope: QuotaScope, limit_bytes: int | None = None) -> None:
        """See `Backend.create_scope`."""
        self._request("create_scope", scope, limit_bytes)

    def describe_scope(self, scope: QuotaScope) -> QuotaUsage:
        """See `Backend.describe_scope`."""
        return self._request("describe_scope", scope).usage or QuotaUsage()

    def set_limit(self, scope: QuotaScope, limit_bytes: int) -> None:
        """See `Backend.set_limit`."""
        self._request("set_limit", scope, limit_bytes)

    def unset_limit(self, scope: QuotaScope) -> None:
        """See `Backend.unset_limit`."""
        self._request("unset_limit", scope)

    def set_inode_limit(self, scope: QuotaScope, limit_inodes: int | None) -> None:
        """See `HasInodeLimits.set_inode_limit`."""
        self._request("set_inode_limit", scope, limit_inodes)

    def set_soft_limit(self, scope: QuotaScope, limit_bytes: int | None) -> None:
        """See `HasSoftLimits.set_soft_limit`."""
        self._request("set_soft_limit", scope, limit_bytes)

    def delete_scope(self, scope: QuotaScope) -> None:
        """See `Backend.delete_scope`."""
        self._request("delete_scope", scope)

    def _request(
        self, verb: Verb, scope: QuotaScope, limit_bytes: int | None = None
    ) -> HelperAnswer:
        request = HelperRequest(verb, self.mount.volume, str(scope), limit_bytes)
        answer = exchange(self._socket_path, request)
        if answer.refusal:
            raise _error(answer)
        return answer


def exchange(socket_path: Path, request: HelperRequest) -> HelperAnswer:
    """Send one request to the worker's socket and return its answer.

    Raises:
        DeadlineExceeded: no answer came within `ANSWER_SECONDS`.
        Unavailable: the worker does not listen, or its answer cannot be read.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(socket_path))
            connection.sendall(msgspec.json.encode(request))
            connection.shutdown(socket.SHUT_WR)
            return msgspec.json.decode(read_all(connection), type=HelperAnswer)
    except TimeoutError:
        raise DeadlineExceeded("The worker of this node did not answer about quota.") from None
    except (OSError, msgspec.DecodeError):
        raise Unavailable("The worker of this node cannot be asked about quota now.") from None


def read_all(connection: socket.socket) -> bytes:
    """Return a complete message: up to its end, or up to `MESSAGE_MAX`."""
    message = b""
    while len(message) < MESSAGE_MAX:
        part = connection.recv(MESSAGE_MAX - len(message))
        if not part:
            break
        message += part
    return message


def perform(backend: Backend, request: HelperRequest) -> HelperAnswer:
    """Carry out a request on the worker's side; a `StorageError` is an answer, never raised."""
    scope = QuotaScope.parse(request.scope)
    try:
        match request.verb:
            case "create_scope":
                backend.create_scope(scope, request.limit_bytes)
            case "describe_scope":
                return HelperAnswer(usage=backend.describe_scope(scope))
            case "set_limit":
                backend.set_limit(scope, request.limit_bytes or 0)  # a missing limit is refused
            case "unset_limit":
                backend.unset_limit(scope)
            case "set_inode_limit":
                skilled(backend, HasInodeLimits).set_inode_limit(scope, request.limit_bytes)
            case "set_soft_limit":
                skilled(backend, HasSoftLimits).set_soft_limit(scope, request.limit_bytes)
            case "delete_scope":
                backend.delete_scope(scope)
    except StorageError as error:
        return HelperAnswer(refusal=_known_class(error), detail=error.detail)
    return HelperAnswer()


def _known_class(error: StorageError) -> str:
    """Return the class name of an error, or of its nearest parent that the doors know."""
    names = (kind.__name__ for kind in type(error).__mro__)
    return next(name for name in names if hasattr(errors, name))


def _error(answer: HelperAnswer) -> StorageError:
    kind = getattr(errors, answer.refusal, None)
    if isinstance(kind, type) and issubclass(kind, StorageError):
        return kind(answer.detail)
    return BackendFailed(answer.detail)
