"""The management API of Storage Scale's GUI (v2): credentials, refusals, pages and jobs.

Every change is a job. Its number is valid on the GUI node that accepted it, and another node may
have another job of the same number. Reads come from the GUI's own database, which is refreshed by a
task.
"""

import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct, field

from backends.mounted.rest import (
    ArrayAnswer,
    ArrayRefusal,
    ArrayRefused,
    ArrayRequest,
    Busy,
    Client,
    Reason,
    basic_login,
    basic_token,
    body_as,
    deadline,
    jobs,
    shared,
    unknown,
)
from backends.systems.gpfs.options import GpfsOptions

API = "/scalemgmt/v2"
#: Read to check the credentials.
_INFO = f"{API}/info"
_COMPLETED = "COMPLETED"
#: In every other state a job still runs; that of `UNKNOWN` may become known.
_ENDED = frozenset({_COMPLETED, "FAILED", "CANCELLED"})
#: Pauses grow up to this (seconds): a job takes seconds.
_LONGEST_PAUSE_SECONDS = 4.0
#: The database of the GUI shows a change this long after its refresh began (seconds).
_STALE_SECONDS = 3.0
_LOOK_SECONDS = 0.2
#: How often a read is made whose job fails without a known reason.
_READS_MAX = 3
#: What a refusal says of an object that does not exist.
_MISSING = re.compile(
    r"Invalid value in '?(filesetName|fsetName|snapshotName|filesystemName|storagePool|jobId)"
)
_CODE = re.compile(r"EFSS[GP]\d{4}[A-Z]")
_REASONS = {
    "EFSSP1102C": Reason.EXISTS,
    "EFSSG0762C": Reason.EXISTS,
    "EFSSG0264C": Reason.NOT_FOUND,
    "EFSSG2006C": Reason.NOT_FOUND,
    "EFSSG0740C": Reason.BUSY,
    "EFSSG0419C": Reason.BUSY,
}
T = TypeVar("T")


class Paging(Struct):
    """How a list goes on."""

    next: str | None = None
    lastId: int | str | None = None  # noqa: N815 - the interface's own name

    @property
    def last(self) -> str | None:
        """Return the id after which the next page begins; None at the end."""
        if not self.next:
            return None
        found = parse_qs(urlsplit(self.next).query).get("lastId")
        if found:
            return found[0]
        return None if self.lastId is None else str(self.lastId)


class GuiRequest(Struct):
    """What a job was made for."""

    type: str = ""
    url: str = ""


class GuiResult(Struct, rename="camel"):
    """What the commands of a job printed."""

    exit_code: int | None = None
    stderr: list[str] | None = None
    stdout: list[str] | None = None


class GuiJob(Struct, rename="camel"):
    """An asynchronous job."""

    job_id: int
    status: str = ""
    request: GuiRequest = field(default_factory=GuiRequest)
    result: GuiResult = field(default_factory=GuiResult)

    @property
    def words(self) -> str:
        """Return what the job says of its failure."""
        return " ".join((self.result.stderr or []) or (self.result.stdout or []))


class GuiJobs(Struct):
    """The answer to a change."""

    jobs: list[GuiJob]


class Gui:
    """The requests of one process to the GUI nodes of one cluster."""

    def __init__(self, options: GpfsOptions) -> None:
        user, password = options.gpfs_username or "", options.gpfs_password or ""
        token = basic_token(user, password)
        target = options.target(options.gpfs_endpoint or "", *options.gpfs_endpoints)
        key = ("gpfs", target, token, options.answer_seconds)

        def make() -> Client:
            return Client(
                target,
                basic_login(token, _INFO),
                _dialect,
                secrets=(password, token),
                answer_seconds=options.answer_seconds,
            )

        self.client = shared(key, make)

    def rows(
        self,
        path: str,
        shape: type[T],
        rows: Callable[[T], tuple[list[Any], Paging | None]],
        /,
        **query: Any,  # noqa: ANN401 - JSON values
    ) -> Iterator[Any]:
        """Yield every row of a list, page by page."""
        page, paging = rows(self.client.get(API + path, shape, **query))
        yield from page
        while paging and (last := paging.last):
            page, paging = rows(self.client.get(API + path, shape, **query, lastId=last))
            yield from page

    def change(
        self, request: ArrayRequest, effect: Callable[[], bool], task: str | None = None
    ) -> None:
        """Make a change by a job, and wait for it; `effect` decides what no answer tells.

        `task` names the refresh after which the GUI shows the change. A request whose answer was
        lost is sent again only after `effect` was asked, and after such a refresh.

        Raises:
            ArrayRefused: the job failed, and its effect is not there; the text has its number.
        """
        asked = ArrayRequest(
            request.method, API + request.path, request.query, request.body, shape=GuiJobs
        )

        def look() -> bool | None:
            self.refresh(task)
            return effect() or None

        def finished() -> bool:
            try:
                answer = self.client.create(asked, look)
                if isinstance(answer, ArrayAnswer):
                    self._finish(answer.body.jobs, asked, look)
            except Busy:
                return False
            except ArrayRefused as refusal:
                if refusal.reason is Reason.BUSY:
                    return False
                if refusal.reason is Reason.DENIED or not _came(look):
                    raise
            return True

        jobs.wait(finished, _LONGEST_PAUSE_SECONDS)
        self.refresh(task)

    def answer_of(self, path: str) -> GuiJob:
        """Return the ended job of a read that the interface makes by a job.

        The read is made again while the cluster is busy, and when its job is forgotten. A job that
        failed for another reason is made again a few times: the node may have been lost.
        """
        asked = ArrayRequest("GET", API + path, shape=GuiJobs)
        found: list[GuiJob] = []

        def finished() -> bool:
            accepted: GuiJobs = self.client.send(asked).body
            ended = self._ended(accepted.jobs[0].job_id, asked) if accepted.jobs else None
            if ended is None:
                return False
            reason = None if ended.status == _COMPLETED else failure(ended).reason
            if reason is Reason.BUSY:
                return False
            found.append(ended)
            return reason is not Reason.FAILED or len(found) >= _READS_MAX

        jobs.wait(finished, _LONGEST_PAUSE_SECONDS)
        return found[-1]

    def refresh(self, task: str | None) -> None:
        """Let the GUI read its database again: without it, reads are old for minutes."""
        if task is None:
            return
        query = {"taskId": task, "maxDelay": 0}
        request = ArrayRequest("POST", f"{API}/refreshTask/enqueue", query)
        try:
            self.client.send(request)
        except ArrayRefused as refusal:
            if refusal.reason is Reason.DENIED:
                raise  # other refusals: this release has no such task, and reads follow later

    def _finish(
        self, accepted: list[GuiJob], asked: ArrayRequest, look: Callable[[], bool | None]
    ) -> None:
        for job in accepted:
            ended = self._ended(job.job_id, asked)
            if ended is None:
                if not _came(look):
                    raise ArrayRefused(
                        f"Storage Scale has forgotten job {job.job_id}, and it had no effect."
                    )
            elif ended.status != _COMPLETED:
                raise failure(ended)

    def _ended(self, number: int, asked: ArrayRequest) -> GuiJob | None:
        """Wait for a job; None when the node that answers does not know it."""
        found: list[GuiJob | None] = []

        def finished() -> bool:
            page = self.client.find(f"{API}/jobs/{number}", GuiJobs, fields=":all:")
            job = page.jobs[0] if page and page.jobs and _is_of(page.jobs[0], asked) else None
            found.append(job)
            return job is None or job.status in _ENDED

        jobs.wait(finished, _LONGEST_PAUSE_SECONDS)
        return found[-1]


def _came(look: Callable[[], bool | None]) -> bool:
    """Return whether an effect shows, also in a database that follows later."""
    began = monotonic()
    while not look():
        if monotonic() - began > _STALE_SECONDS:
            return False
        deadline.rest(_LOOK_SECONDS)
    return True


def _is_of(job: GuiJob, asked: ArrayRequest) -> bool:
    """Return whether a job is that of a request: after a failover a number may be another's."""
    path = urlsplit(job.request.url).path
    return job.request.type.upper() == asked.method and path.endswith(asked.path)


def failure(job: GuiJob) -> ArrayRefused:
    """Return the refusal of a failed job."""
    code = _CODE.search(job.words)
    reason = _REASONS.get(code[0], Reason.FAILED) if code else Reason.FAILED
    words = job.words or f"it ended as {job.status}"
    detail = f"Storage Scale's job {job.job_id} failed: {words}"
    return ArrayRefused(detail, reason, code[0] if code else "")


class _Status(Struct):
    message: str = ""


class _GuiRefusal(Struct):
    status: _Status = field(default_factory=_Status)


def _dialect(answer: ArrayAnswer) -> ArrayRefusal | None:
    """Parse a refusal: a missing object is 400 with a text; 401 is a wrong password."""
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return None
    plain, said = unknown(answer), body_as(answer, _GuiRefusal)
    words = plain.words if said is None else said.status.message
    if _MISSING.search(words):
        return ArrayRefusal(Reason.NOT_FOUND, "", words)
    code = _CODE.search(words)
    reason = _REASONS.get(code[0], plain.reason) if code else plain.reason
    return ArrayRefusal(reason, code[0] if code else "", words)
