"""Requests that the document of the client door allows people, and that it does not allow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.people.conftest import People
from tests.support.node import ROOT
from tests.support.schemathesis_names import JOB_VARIABLE, VFOLDER_VARIABLE

#: A document cannot know what exists and what is full: those refusals are right answers.
CONFIG = """
[checks]
positive_data_acceptance.expected-statuses = [
  "2xx", "304", "400", "403", "404", "409", "412", "413", "416", "422", "507"
]
# tus refuses other versions with 412.
negative_data_rejection.expected-statuses = [
  "400", "401", "403", "404", "405", "406", "409", "412", "415", "422", "428", "429", "5xx"
]

# The events of a job that waits have no end.
[[operations]]
include-path = "/v1/jobs/{job_id}/events"
request-timeout = 1.0

# Only a browser knows a code.
[[operations]]
include-path = "/v1/signin/exchange"
checks.positive_data_acceptance.expected-statuses = ["400", "401"]
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_checks_hold(people: People, tmp_path: Path) -> None:
    owner = people.person()
    vfolder = people.vfolder(owner, a="1")
    body = {"paths": ["nothing"]}
    job = people.call(owner, "POST", f"/v1/vfolders/{vfolder.id}/delete", body).json()["id"]
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    ran = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{people.door.url}/openapi.json",
            f"--header=Authorization:Bearer {owner.key}",
            "--include-path-regex=^/(v1|s)/",
            "--phases=examples,coverage",
            "--seed=1",
            "--continue-on-failure",
            "--no-color",
            "--warnings=off",
            "--workers=1",
        ],
        cwd=tmp_path,
        env=os.environ
        | {
            "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_people_hooks",
            "PYTHONPATH": str(ROOT),
            VFOLDER_VARIABLE: str(vfolder.id),
            JOB_VARIABLE: str(job),
        },
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-2000:]
