"""The report of a job as an answer: every entry that failed, as JSON lines or as a table."""

from collections.abc import Iterator

from flask import Response, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import NotAcceptable

from api.jobs import pointer, reports
from api.routes import parameters
from api.routes.door import current_door
from api.routes.resource import PROBLEM, Route, RouteAnswer
from api.schemas import Problem
from api.streaming import files, ranges
from core.errors import UnknownVolume
from core.jobs import Job

JSONL, CSV = "application/jsonl", "text/csv"
_REFUSALS = {
    406: "No such format",
    412: "The report has changed",
    416: "The range is outside of the report",
}
_FORMATS = {"jsonl": JSONL, "csv": CSV}
#: What a route of a report gives and takes.
REPORT = Route(
    gives={
        200: RouteAnswer("The report.", content_type=JSONL, also=(CSV,)),
        206: RouteAnswer("A part of it.", content_type=JSONL),
        304: RouteAnswer("Unchanged."),
        **{
            status: RouteAnswer(f"{text}.", Problem, content_type=PROBLEM)
            for status, text in _REFUSALS.items()
        },
    },
    parameters=(
        parameters.in_query(
            "format",
            "The form; without it the header `Accept` says it.",
            type="string",
            enum=sorted(_FORMATS),
        ),
        parameters.RANGE,
        parameters.IF_RANGE,
        parameters.IF_MATCH,
        parameters.IF_NONE_MATCH,
    ),
    refuses=(UnknownVolume,),
)


def report_of(job: Job) -> Response:
    """Return the report of a job, in the form and the part that the request names."""
    media_type = _format()
    door = current_door()
    report = reports.open_report(door.volume_access, job, door.artifact_storages)
    if media_type == CSV:
        return _table(report, job.id)
    try:
        what = ranges.Representation(report.size, report.etag)
        headers = _headers(report, f"{job.id}.jsonl", JSONL)
        headers["Accept-Ranges"] = "bytes"
        choice = ranges.choose(what, ranges.requested_ranges())
        status, start, length = ranges.apply_choice(choice, report.size, headers)
    except BaseException:
        report.close()
        raise
    body = report.pieces(start, length) if length else iter(())
    return _answer(report, body, status, headers)


def _table(report: reports.ReportBody, job_id: str) -> Response:
    headers = _headers(report, f"{job_id}.csv", f"{CSV}; charset=utf-8; header=present")
    del headers["ETag"]
    headers["Accept-Ranges"] = "none"
    return _answer(report, report.rows(), 200, headers)


def _headers(report: reports.ReportBody, name: str, content_type: str) -> Headers:
    headers = Headers(files.SAFE_HEADERS)
    headers["Content-Type"] = content_type
    headers["Content-Disposition"] = f'attachment; filename="{name}"'
    headers["Cache-Control"] = "no-store"
    headers["Vary"] = "Accept"
    headers["ETag"] = report.etag
    return headers


def _answer(
    report: reports.ReportBody, body: Iterator[bytes], status: int, headers: Headers
) -> Response:
    response = Response(body, status, headers)
    response.call_on_close(report.close)
    return response


def _format() -> str:
    unknown = set(request.args) - {"format"}
    if unknown:
        raise pointer(min(unknown), "is not a parameter of a report")
    named = request.args.get("format")
    if named is not None and named not in _FORMATS:
        raise pointer("format", "must be jsonl or csv")
    if named:
        return _FORMATS[named]
    accepts = request.accept_mimetypes
    best = accepts.best_match([JSONL, CSV, "application/x-ndjson", "application/json"])
    if best is None and accepts.provided:
        raise NotAcceptable
    return CSV if best == CSV else JSONL
