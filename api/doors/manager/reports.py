"""The route of a job's report: every entry that failed."""

from dataclasses import replace

from flask import Response

from api.routes import Resource, current_door, job_reports, on_behalf
from core.errors import JobNotFound, UnknownVolume

blueprint = Resource("reports", __name__, description="Failed entries of a job.")


@blueprint.operation(
    "GET",
    "/v1/jobs/<job_id>/report",
    replace(job_reports.REPORT, refuses=(JobNotFound, UnknownVolume)),
)
@on_behalf.on_job("jobs.read")
def get_job_report(job_id: str) -> Response:
    r"""Return every entry that failed in a job.

    The form is JSON lines: one object with `path`, `reason` and `attempt` per entry, then one with
    `summary`. It can be fetched in parts (`Range`), also while the job runs. `?format=csv` or
    `Accept: text/csv` returns a table instead, without ranges. Names that are not UTF-8 are
    escaped as `\udcXX` in JSON; in CSV they are the original bytes.
    """
    return job_reports.report_of(current_door().jobs.store.get(job_id))
