"""Acts on quota scopes that need rights, asked of the one process of the node that has them.

A web process never runs as root. Where its volume's quota needs root (project ids, subvolumes), it
asks the node's worker, which listens on the socket `[vfolder.worker] quota-socket`: one JSON object
in, one out, five verbs and nothing else. `workers.node.privileged_quota` answers.
"""

import functools
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from backends.base import Backend, HasQuota, QuotaUsage
from core import errors
from core.errors import BackendFailed, DeadlineExceeded, StorageError, Unavailable
from core.names import QuotaScope
from core.process import privileges

#: An answer that takes longer is none; a tree that is taken over goes on meanwhile.
ANSWER_SECONDS = 60.0
#: The longest message, in bytes.
MESSAGE_MAX = 65_536

Verb = Literal["create_scope", "describe_scope", "set_limit", "unset_limit", "delete_scope"]


class HelperRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked."""

    verb: Verb
    volume: str
    scope: str
    limit_bytes: int | None = None


class HelperAnswer(Struct, frozen=True):
    """The answer: `refusal` names the class of the error."""

    usage: QuotaUsage | None = None
    refusal: str = ""
    detail: str = ""


def perform(backend: Backend, ask: HelperRequest) -> HelperAnswer:
    """Do what is asked; a refusal is told, not raised."""
    scope = QuotaScope.parse(ask.scope)
    try:
        match ask.verb:
            case "create_scope":
                backend.create_scope(scope, ask.limit_bytes)
            case "describe_scope":
                return HelperAnswer(usage=backend.describe_scope(scope))
            case "set_limit":
                backend.set_limit(scope, ask.limit_bytes or 0)  # none is no limit, and refused
            case "unset_limit":
                backend.unset_limit(scope)
            case "delete_scope":
                backend.delete_scope(scope)
    except StorageError as error:
        return HelperAnswer(refusal=_known(error), detail=error.detail)
    return HelperAnswer()


def _known(error: StorageError) -> str:
    """The class of an error, or what it is a kind of where the doors do not know it."""
    names = (kind.__name__ for kind in type(error).__mro__)
    return next(name for name in names if hasattr(errors, name))


def through(kind: type[Backend], desk: Path) -> type[Backend]:
    """The same class, whose acts on scopes are asked of the keeper at a socket.

    Where quota needs no rights that this process lacks, the class comes back as it is.
    """
    if not issubclass(kind, HasQuota) or privileges.has(privileges.CAP_SYS_ADMIN):
        return kind
    acts = {
        verb: _asked(verb, getattr(kind, verb), desk)
        for verb in ("create_scope", "describe_scope", "set_limit", "unset_limit", "delete_scope")
    }
    return type(kind.__name__, (kind,), acts)


def _asked(verb: Verb, act: Callable[..., Any], desk: Path) -> Callable[..., Any]:
    @functools.wraps(act)
    def asked(
        backend: Backend, scope: QuotaScope, limit_bytes: int | None = None
    ) -> QuotaUsage | None:
        told = _exchange(desk, HelperRequest(verb, backend.mount.volume, str(scope), limit_bytes))
        if told.refusal:
            raise _refusal(told)
        return told.usage

    return asked


def _exchange(desk: Path, ask: HelperRequest) -> HelperAnswer:
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(ANSWER_SECONDS)
            line.connect(str(desk))
            line.sendall(msgspec.json.encode(ask))
            line.shutdown(socket.SHUT_WR)
            return msgspec.json.decode(read_all(line), type=HelperAnswer)
    except TimeoutError:
        raise DeadlineExceeded("The worker of this node did not answer about quota.") from None
    except (OSError, msgspec.DecodeError):
        raise Unavailable("The worker of this node cannot be asked about quota now.") from None


def read_all(line: socket.socket) -> bytes:
    """A whole message, to its end or to the longest that is allowed."""
    message = b""
    while len(message) < MESSAGE_MAX and (part := line.recv(MESSAGE_MAX - len(message))):
        message += part
    return message


def _refusal(told: HelperAnswer) -> StorageError:
    kind = getattr(errors, told.refusal, None)
    if isinstance(kind, type) and issubclass(kind, StorageError):
        return kind(told.detail)
    return BackendFailed(told.detail)
