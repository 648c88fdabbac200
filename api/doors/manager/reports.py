"""The route of a job's report: every entry that failed."""

from collections.abc import Iterator

from flask import Response, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import NotAcceptable

from api.jobs import pointer, reports
from api.routes import PROBLEM, Resource, Route, RouteAnswer, current_door, parameters
from api.schemas import Problem
from api.streaming import files, ranges
from core.errors import JobNotFound, UnknownVolume

blueprint = Resource("reports", __name__, description="Failed entries of a job.")

JSONL, CSV = "application/jsonl", "text/csv"
_REFUSALS = {
    406: "No such format",
    412: "The report has changed",
    416: "The range is outside of the report",
}
_FORMATS = {"jsonl": JSONL, "csv": CSV}


@blueprint.operation(
    "GET",
    "/v1/jobs/<job_id>/report",
    Route(
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
        refuses=(JobNotFound, UnknownVolume),
    ),
)
def get_job_report(job_id: str) -> Response:
    r"""Return every entry that failed in a job.

    The form is JSON lines: one object with `path`, `reason` and `attempt` per entry, then one with
    `summary`. It can be fetched in parts (`Range`), also while the job runs. `?format=csv` or
    `Accept: text/csv` returns a table instead, without ranges. Names that are not UTF-8 are
    escaped as `\udcXX` in JSON; in CSV they are the original bytes.
    """
    media_type = _format()
    door = current_door()
    job = door.jobs.store.get(job_id)
    report = reports.open_report(door.volume_access, job, door.artifact_storages)
    if media_type == CSV:
        return _table(report, job_id)
    try:
        what = ranges.Representation(report.size, report.etag)
        headers = _headers(report, f"{job_id}.jsonl", JSONL)
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
