"""What an error means for the caller: the classes that all kinds of problems are below."""

from collections.abc import Mapping
from typing import Any, ClassVar

#: Statuses of failures that pass.
PASSING = frozenset({408, 421, 423, 429, 503, 504})


class ClientError(Exception):
    """Base class of all that this library raises."""

    #: Whether the same call may succeed later.
    retriable: bool = False


class ContextError(ClientError):
    """There is no context of this name, or the file of contexts cannot be used."""


class NotConnected(ClientError):
    """The door does not answer."""

    retriable = True


class NotADoor(ClientError):
    """What answers is no door of this service, or its certificate is not trusted."""


class TransferBroken(ClientError):
    """An upload or download cannot continue; the text says why."""


class JobFailed(ClientError):
    """A job ended as failed, partial or cancelled; `job` is its last document."""

    def __init__(self, text: str, job: Mapping[str, Any]) -> None:
        super().__init__(text)
        self.job = job


class Problem(ClientError):
    """The door refused a request; the members are those of the problem document."""

    kind: ClassVar[str] = ""
    _kinds: ClassVar[dict[str, type["Problem"]]] = {}

    def __init__(
        self, status: int, members: Mapping[str, Any], retry_after: float | None = None
    ) -> None:
        self.status = status
        self.members = dict(members)
        self.title = str(members.get("title", ""))
        self.detail = str(members.get("detail", self.title))
        self.error_code = str(members.get("error_code", ""))
        self.request_id: str | None = members.get("request_id")
        self.retriable = bool(members.get("retriable", status in PASSING))
        #: Seconds after which the door wants the next try; None where it does not say.
        self.retry_after = retry_after
        super().__init__(self.detail)

    def __init_subclass__(cls) -> None:
        if "kind" in cls.__dict__:
            Problem._kinds[cls.kind] = cls

    @property
    def fields(self) -> list[str]:
        """The wrong fields of the request: a JSON pointer and what is wrong with each."""
        errors = self.members.get("errors") or []
        return [f"{one.get('pointer')}: {one.get('detail')}" for one in errors]


# -- What it means for the caller ------------------------------------------------------------------
class BadRequest(Problem):
    """The request is wrong; repeating it does not help."""


class NotAuthenticated(Problem):
    """The request has no credential, or one that is not valid."""

    kind = "auth/unauthenticated"


class NotPermitted(Problem):
    """The caller may not do this; `needed` and `have` say what is missing."""

    @property
    def needed(self) -> str | None:
        """The permission or the scope that the act needs."""
        found = self.members.get("needed")
        return None if found is None else str(found)

    @property
    def have(self) -> str | None:
        """The permission that the caller has."""
        found = self.members.get("have")
        return None if found is None else str(found)


class Absent(Problem):
    """Not there, or the caller may not see it."""

    kind = "storage/not-found"


class Refused(Problem):
    """The state of things does not permit it now."""

    kind = "storage/conflict"


class LimitReached(Problem):
    """A limit is reached, or the storage is full."""


class TryLater(Problem):
    """The same request may succeed later."""

    kind = "storage/unavailable"


class ServerFailed(Problem):
    """The service failed; its log has the cause under the request id."""

    kind = "storage/generic"
