"""The `error` of a job: a caller that awaits the job gets the answer of the error itself."""

import json

import pytest

from api.http import problems
from core.errors import (
    AccessRefused,
    BackendFailed,
    DeadlineExceeded,
    Defect,
    NoSpace,
    PermissionDenied,
    RequestRefused,
    StorageError,
    StorageUnavailable,
    VFolderNotFound,
    reported,
)
from workers.runner import problem_of

JOB = "0b5a5a3e-6f0c-4f37-9f0f-1d1f7b2f0a11"


@pytest.mark.parametrize(
    "kind",
    [
        AccessRefused,
        BackendFailed,
        DeadlineExceeded,
        Defect,
        NoSpace,
        PermissionDenied,
        RequestRefused,
        StorageUnavailable,
        VFolderNotFound,
    ],
)
def test_an_awaited_error_is_answered_as_it_is(kind: type[StorageError]) -> None:
    error = kind("The array says no.", job_id=JOB)
    stored = json.loads(json.dumps(problem_of(error)))
    assert problems.document(reported(stored, job_id=JOB)) == problems.document(error)


def test_a_job_that_was_lost_too_often_is_a_failure() -> None:
    poison = {"code": "poison", "detail": "The job failed.", "retriable": False}
    found = reported(poison, job_id=JOB)
    assert (found.status, found.retriable, found.facts) == (500, False, {"job_id": JOB})
