"""ONTAP's REST interface: refusals, pages and jobs (NetApp: ONTAP REST API reference)."""

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from msgspec import Struct, field

from backends.mounted.rest import (
    ArrayAnswer,
    ArrayRefusal,
    ArrayRefused,
    ArrayRequest,
    Busy,
    Client,
    Lost,
    Reason,
    body_as,
    jobs,
    unknown,
)
from backends.systems.netapp.login import login_of
from backends.systems.netapp.options import NetAppOptions

#: How long ONTAP may delay an answer until its work is done (seconds).
RETURN_TIMEOUT_SECONDS = 3
#: The states in which a job has ended; in every other state it still runs.
_SUCCESS = "success"
_ENDED = frozenset({_SUCCESS, "failure"})
#: Failures of jobs that have a text and no code.
_BUSY_WORDS = "quota operation is currently in progress"
#: Error codes; for others the HTTP status decides.
_REASONS = {
    "1": Reason.EXISTS,
    "2": Reason.INVALID,
    "3": Reason.INVALID,
    "4": Reason.NOT_FOUND,
    "6": Reason.DENIED,
    "7": Reason.BUSY,
    "8": Reason.BUSY,
    "262160": Reason.BUSY,
    "262179": Reason.INVALID,
    "262197": Reason.INVALID,
    "393271": Reason.BUSY,
    "13107406": Reason.BUSY,
    "917505": Reason.NOT_FOUND,
    "917506": Reason.NOT_FOUND,
    "917525": Reason.NOT_FOUND,
    "918235": Reason.NOT_FOUND,
    "5242894": Reason.INVALID,
    "5242895": Reason.BUSY,
    "5242897": Reason.DENIED,
    "5308507": Reason.EXISTS,
    "5308545": Reason.NOT_FOUND,
    "5308561": Reason.BUSY,
}
R = TypeVar("R")


class _Link(Struct):
    href: str


class _Links(Struct):
    next: _Link | None = None


class OntapPage(Struct, Generic[R]):
    """One page of a list; an empty page may have a next one."""

    records: list[R] = []
    links: _Links | None = field(default=None, name="_links")


class JobLink(Struct):
    """The link to a job."""

    uuid: str


class Accepted(Struct):
    """The answer to a change."""

    job: JobLink | None = None


class JobError(Struct):
    """Why a job failed."""

    code: str = ""
    message: str = ""


class OntapJob(Struct):
    """An asynchronous job of ONTAP."""

    state: str = ""
    message: str = ""
    error: JobError | None = None


class OntapApi:
    """Lists and changes through a `Client`; each request has the credentials.

    ONTAP locks an account after a few wrong passwords, so they are checked before the first use.
    """

    def __init__(self, options: NetAppOptions) -> None:
        sign_in, secrets = login_of(options)
        self.client = Client(
            options.cluster,
            sign_in,
            _dialect,
            secrets=secrets,
            answer_seconds=options.answer_seconds,
        )

    def records(self, path: str, row: type[R], **query: Any) -> Iterator[R]:  # noqa: ANN401 - JSON values
        """Yield every record of a list, page by page.

        Raises:
            ArrayRefused, Busy, Lost: as `Client.get`.
        """
        page = self.client.get(path, OntapPage[row], **query)  # type: ignore[valid-type] # a type at run time
        yield from page.records
        while page.links and page.links.next:
            href = page.links.next.href
            if not href.startswith("/api/"):
                raise Lost("ONTAP's list goes on outside of its interface.")
            page = self.client.get(href, OntapPage[row])  # type: ignore[valid-type] # same
            yield from page.records

    def first(self, path: str, row: type[R], **query: Any) -> R | None:  # noqa: ANN401 - JSON values
        """Return the first record of a list; None for an empty list."""
        return next(self.records(path, row, **query), None)

    def make(self, path: str, body: Mapping[str, Any], effect: Callable[[], bool]) -> None:
        """Create an object with a unique name; an existing one is no error.

        `effect` checks whether the object exists. It is called after a lost answer, and when ONTAP
        reports a failure: some failed requests have created the object.

        Raises:
            ArrayRefused: ONTAP refused, and the object does not exist.
            Busy: another change of the volume runs until the deadline.
        """
        request = self._change("POST", path, body)

        def attempt() -> None:
            answer = self.client.create(request, lambda: effect() or None)
            if isinstance(answer, ArrayAnswer):
                self._finish(answer, effect)

        _despite_failure(attempt, effect)

    def change(
        self, method: str, path: str, body: Mapping[str, Any] | None, effect: Callable[[], bool]
    ) -> None:
        """Change or remove an object, as `make` does.

        Raises:
            As `make`.
        """
        request = self._change(method, path, body)
        _despite_failure(lambda: self._finish(self.client.send(request), effect), effect)

    def _change(self, method: str, path: str, body: Mapping[str, Any] | None) -> ArrayRequest:
        query = None if "?" in path else {"return_timeout": RETURN_TIMEOUT_SECONDS}
        return ArrayRequest(method, path, query, body, shape=Accepted | None)

    def _finish(self, answer: ArrayAnswer, effect: Callable[[], bool]) -> None:
        """Wait for the job of an answer; `effect` decides for a job that ONTAP has forgotten."""
        accepted: Accepted | None = answer.body
        if answer.status != HTTPStatus.ACCEPTED or accepted is None or accepted.job is None:
            return
        uuid = accepted.job.uuid
        ended = self._ended(uuid)
        if ended is None:
            if not effect():
                raise ArrayRefused(f"ONTAP has forgotten the job {uuid}, and it had no effect.")
        elif ended.state != _SUCCESS:
            raise _failure(ended, uuid)

    def _ended(self, uuid: str) -> OntapJob | None:
        found: list[OntapJob | None] = []

        def finished() -> bool:
            path = f"/api/cluster/jobs/{uuid}"
            job = self.client.find(path, OntapJob, fields="state,message,error")
            found.append(job)
            return job is None or job.state in _ENDED

        jobs.wait(finished)
        return found[-1]


def _despite_failure(act: Callable[[], None], effect: Callable[[], bool]) -> None:
    """Retry while ONTAP is busy; a failure that left the requested state counts as success."""

    def finished() -> bool:
        try:
            act()
        except Busy:
            return False
        except ArrayRefused as refusal:
            if _BUSY_WORDS in refusal.detail:
                return False
            if refusal.reason is Reason.DENIED or not effect():
                raise
        return True

    jobs.wait(finished)


def _failure(job: OntapJob, uuid: str) -> ArrayRefused | Busy:
    code = job.error.code if job.error else ""
    words = (job.error and job.error.message) or job.message
    if _BUSY_WORDS in words or _REASONS.get(code) is Reason.BUSY:
        return Busy(f"ONTAP is busy: {words}")
    detail = f"ONTAP's job {uuid} failed (code {code or 'unknown'}): {words}"
    return ArrayRefused(detail, _REASONS.get(code, Reason.FAILED), code)


class _OntapRefusal(Struct):
    code: str = ""
    message: str = ""


class _Error(Struct):
    error: _OntapRefusal = field(default_factory=_OntapRefusal)


def _dialect(answer: ArrayAnswer) -> ArrayRefusal | None:
    """Parse a refusal; 401 is a wrong password, 403 a missing right."""
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return None
    plain, said = unknown(answer), body_as(answer, _Error)
    if said is None:
        return plain
    reason = _REASONS.get(said.error.code) or plain.reason
    return ArrayRefusal(reason, said.error.code, said.error.message)
