"""When a caller looks at a job again: `Retry-After` follows the job's age and its ETA."""

import time
from typing import Any

import pytest

from api.jobs import retry_after
from core.jobs import Job
from core.redis import dumps

DAY = 86_400


def job(age_seconds: float, eta_seconds: float | None = None, state: str = "running") -> Job:
    created = int((time.time() - age_seconds) * 1000)
    fields: dict[str, Any] = dict.fromkeys(("id", "verb", "volume", "scope"), "x")
    fields |= dict.fromkeys(("seq", "version", "attempt", "losses", "priority"), "1")
    progress = dumps({"eta_seconds": eta_seconds})
    fields |= {"lane": "bulk", "state": state, "created_at": f"{created}", "progress": progress}
    return Job.from_fields(fields)


@pytest.mark.parametrize(
    ("facts", "seconds"),
    [
        ({"age_seconds": 0}, 1),
        ({"age_seconds": 200}, 11),
        ({"age_seconds": DAY}, 30),
        ({"age_seconds": DAY, "eta_seconds": 20}, 10),
        ({"age_seconds": DAY, "eta_seconds": 0}, 1),
        ({"age_seconds": DAY, "eta_seconds": DAY}, 30),
        ({"age_seconds": DAY, "state": "succeeded"}, 1),
    ],
)
def test_later_for_an_older_job_and_sooner_near_its_end(
    facts: dict[str, Any], seconds: int
) -> None:
    assert abs(retry_after(job(**facts)) - seconds) <= 1  # the clock goes on
