"""Reports of what a job could not do: complete, in parts, as JSON lines and as a table."""

import csv
import io
import json
import os
import subprocess

import pytest

from tests.api.jobs.conftest import Site

FAILED = 130
#: Root runs the tests; nothing else resists root.
MOUNTS = pytest.mark.part("root")
ODD = os.fsdecode(b"odd-\xff")


@pytest.fixture(scope="module")
def job(site: Site) -> str:
    """A delete of entries, more of which resist than progress keeps; one name is not UTF-8."""
    names = [*(f"file{number}" for number in range(FAILED - 1)), ODD]
    vfid = site.folder(**dict.fromkeys([*names, "fine"], "x"))
    path = site.path(vfid)
    # A mount resists every user, also root.
    for name in names:
        subprocess.run(["mount", "--bind", path / "fine", path / name], check=True)
    try:
        found = site.begun("delete-files", vfolder=vfid, paths=[*names, "fine", "absent"])
        ended = site.ended(found)
        assert ended["state"] == "partial", ended
    finally:
        for name in names:
            subprocess.run(["umount", path / name], check=True)
    return found


def report(site: Site, job: str, query: str = "", **headers: str) -> bytes:
    response = site.door.call("GET", f"/v1/jobs/{job}/report{query}", headers=headers)
    assert response.status_code in (200, 206), response.text
    content: bytes = response.content
    return content


@MOUNTS
def test_every_failed_entry_has_its_line(site: Site, job: str) -> None:
    *lines, summary = [json.loads(line) for line in report(site, job).splitlines()]
    assert {line["path"] for line in lines} == {f"file{n}" for n in range(FAILED - 1)} | {ODD}
    assert all(line["reason"] and line["attempt"] == 1 for line in lines)
    assert summary["summary"]["errors"] == FAILED
    assert summary["summary"]["state"] == "partial"
    assert summary["summary"]["lines_lost"] == 0
    assert str(site.settings.directory) not in str(lines)


@MOUNTS
def test_parts_add_up_to_the_whole(site: Site, job: str) -> None:
    whole = report(site, job)
    first = site.door.call("GET", f"/v1/jobs/{job}/report", headers={"Range": "bytes=0-99"})
    assert first.status_code == 206
    assert first.headers["Content-Range"] == f"bytes 0-99/{len(whole)}"
    tag = first.headers["ETag"]
    rest = site.door.call(
        "GET", f"/v1/jobs/{job}/report", headers={"Range": "bytes=100-", "If-Range": tag}
    )
    assert rest.status_code == 206
    assert first.content + rest.content == whole
    assert report(site, job, Range="bytes=-30") == whole[-30:]
    middle = len(whole) - 400
    assert report(site, job, Range=f"bytes={middle}-{middle + 350}") == whole[middle:][:351]
    for headers, status in (
        ({"Range": f"bytes={len(whole)}-"}, 416),
        ({"If-None-Match": tag}, 304),
        ({"If-Match": '"other"'}, 412),
    ):
        answer = site.door.call("GET", f"/v1/jobs/{job}/report", headers=headers)
        assert answer.status_code == status


@MOUNTS
@pytest.mark.parametrize(("query", "accept"), [("?format=csv", "*/*"), ("", "text/csv")])
def test_as_a_table(site: Site, job: str, query: str, accept: str) -> None:
    text = report(site, job, query, Accept=accept).decode("utf-8", "surrogateescape")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0] == ["path", "reason", "attempt"]
    assert {row[0] for row in rows[1:]} == {f"file{n}" for n in range(FAILED - 1)} | {ODD}


@MOUNTS
def test_only_what_failed_is_tried_again(site: Site, job: str) -> None:
    response = site.door.call("POST", f"/v1/jobs/{job}/retry?only=failed")
    assert response.status_code == 202, response.text
    again = response.json()
    assert again["retry_of"] == job
    assert len(again["request"]["paths"]) == FAILED
    assert ODD in again["request"]["paths"]
    ended = site.ended(again["id"])
    assert ended["state"] == "succeeded"
    assert not any(site.path(ended["request"]["vfolder"]).iterdir())
    nothing = site.door.call("POST", f"/v1/jobs/{again['id']}/retry?only=failed")
    assert nothing.status_code == 409


@MOUNTS
def test_below_a_directory_the_paths_start_at_the_vfolder(site: Site) -> None:
    vfid = site.folder()
    path = site.path(vfid)
    (path / "a/b").mkdir(parents=True)
    for name in ("a/b/kept", "a/b/gone"):
        (path / name).touch()
    subprocess.run(["mount", "--bind", path / "a/b/gone", path / "a/b/kept"], check=True)
    try:
        job = site.begun("delete-files", vfolder=vfid, paths=["a"], recursive=True)
        ended = site.ended(job)
    finally:
        subprocess.run(["umount", path / "a/b/kept"], check=True)
    assert ended["state"] == "partial"
    assert ended["result"]["failed"] == 1
    assert ended["result"]["skipped"] == 0
    lines = [json.loads(line) for line in report(site, job).splitlines()]
    assert "a/b/kept" in [line.get("path") for line in lines]
    again = site.door.call("POST", f"/v1/jobs/{job}/retry?only=failed").json()
    assert again["request"]["paths"] == ["a"]
    assert site.ended(again["id"])["state"] == "succeeded"
    assert not (path / "a").exists()


def test_a_job_without_faults_has_its_summary(site: Site) -> None:
    job = site.begun("usage", vfolder=site.folder(a="1"))
    site.ended(job)
    (line,) = report(site, job).splitlines()
    assert json.loads(line)["summary"]["errors"] == 0
    assert report(site, job, "?format=csv") == b"path,reason,attempt\r\n"
    refused = site.door.call("POST", f"/v1/jobs/{job}/retry?only=failed")
    assert refused.status_code == 409
    assert "retried completely" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("query", "accept", "status"),
    [("?format=xml", "*/*", 400), ("?x=1", "*/*", 400), ("", "image/png", 406)],
)
def test_what_it_is_not(site: Site, query: str, accept: str, status: int) -> None:
    job = site.begun("usage", vfolder=site.folder())
    answer = site.door.call("GET", f"/v1/jobs/{job}/report{query}", headers={"Accept": accept})
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
