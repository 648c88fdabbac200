"""The job API over HTTP: real door, real worker, real store."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.api.jobs.conftest import Site
from tests.support.node import wait_for
from tests.support.trees import snapshot

#: Well formed, and never given to a job.
UNKNOWN = "019b76da-a800-7000-8000-000000000000"


def clone(site: Site, **more: Any) -> dict[str, Any]:
    source = site.folder(a="alpha")
    return {"source": source, "target": f"user:{uuid4()}/{uuid4().hex}", **more}


def test_from_asked_to_ended(site: Site) -> None:
    body = clone(site, label="first")
    response = site.submit("clone", **body)
    assert response.status_code == 202
    job = response.json()["id"]
    assert response.headers["Location"] == f"/v1/jobs/{job}"
    assert int(response.headers["Retry-After"]) >= 1
    assert UUID(job).version == 7
    ended = site.ended(job)
    assert ended["state"] == "succeeded", ended
    assert (site.path(body["target"]) / "a").read_text() == "alpha"
    assert ended["progress"]["errors"] == 0
    assert ended["links"]["report"] == f"/v1/jobs/{job}/report"
    kinds = [line["kind"] for line in site.door.call("GET", f"/v1/jobs/{job}/log").json()["events"]]
    assert kinds == ["submitted", "claimed", "succeeded"]


@pytest.mark.parametrize(
    ("paths", "recursive", "lane"),
    [(["a"], False, "fast"), (["a"], True, "bulk"), ([f"n{n}" for n in range(101)], False, "bulk")],
)
def test_what_is_bounded_goes_fast(
    site: Site, paths: list[str], lane: str, *, recursive: bool
) -> None:
    vfid = site.folder(**dict.fromkeys(paths, "1"))
    job = site.begun("delete-files", vfolder=vfid, paths=paths, recursive=recursive)
    assert site.get(job)["lane"] == lane
    assert site.ended(job)["state"] == "succeeded"


def test_an_idempotency_key(at_rest: Site) -> None:
    site, key = at_rest, {"Idempotency-Key": uuid4().hex}
    vfolder = site.folder()
    first = site.submit("usage", key, vfolder=vfolder)
    again = site.submit("usage", key, vfolder=vfolder)
    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    other = site.submit("usage", key, vfolder=site.folder())
    assert other.status_code == 422
    assert other.json()["error_code"] == "bgtask_create_conflict"
    site.door.call("POST", f"/v1/jobs/{first.json()['id']}/cancel")
    after = site.submit("usage", key, vfolder=vfolder)
    assert after.json()["id"] == first.json()["id"], "a key is remembered beyond the job's end"
    too_long = site.submit("usage", {"Idempotency-Key": "k" * 256}, vfolder=vfolder)
    assert too_long.status_code == 400


def test_the_door_says_who_requests(at_rest: Site) -> None:
    """No body names a requester: neither that of others' jobs, nor that of others' keys."""
    site, key = at_rest, {"Idempotency-Key": uuid4().hex}
    vfolder = site.folder()
    for requester in ("upload", "sweep", "manager", ""):
        refused = site.submit("usage", key, vfolder=vfolder, requester=requester)
        assert refused.status_code == 400
        assert [one["pointer"] for one in refused.json()["errors"]] == ["/requester"]
    made = [site.submit("usage", key, vfolder=vfolder).json()]
    place = {"volume": "local", "vfid": vfolder}
    made.append(site.door.call("POST", "/folder/delete", place).json())
    paths = {"relpaths": ["a"], "recursive": False}
    other = {"volume": "local", "vfid": site.folder(a="1")}
    made.append(site.door.call("POST", "/folder/file/delete-async", other | paths).json())
    assert [site.get(job["id"])["requester"] for job in made] == ["manager"] * 3
    listed = site.door.call("GET", f"/v1/jobs?requester=manager&vfolder={vfolder}").json()["jobs"]
    assert {job["id"] for job in listed} == {job["id"] for job in made[:2]}
    for job in made:
        site.door.call("POST", f"/v1/jobs/{job['id']}/cancel")


def test_a_natural_key(at_rest: Site) -> None:
    site, body = at_rest, clone(at_rest)
    first = site.begun("clone", **body)
    assert site.begun("clone", **body) == first
    hexes = body["target"].replace("user:", "USER:")
    assert site.begun("clone", **body | {"target": hexes}) == first
    other = site.submit("clone", **body | {"verify": "none"})
    assert other.status_code == 409
    assert other.json()["job_id"] == first


def test_a_plan_does_nothing(site: Site) -> None:
    body = clone(site)

    def jobs() -> list[Any]:
        query = {"vfolder": body["target"]}
        found: list[Any] = site.door.call("GET", "/v1/jobs", params=query).json()["jobs"]
        return found

    plan = site.submit("clone", **body, plan=True)
    assert plan.status_code == 200
    assert plan.json()["would_start"] is True
    assert plan.json()["method"] in ("stream", "reflink")
    assert not site.path(body["target"]).exists()
    site.path(body["target"]).mkdir(parents=True)
    refused = site.submit("clone", **body, plan=True).json()
    assert refused["would_start"] is False
    assert refused["refusals"][0]["error_code"] == "vfolder_create_already-exists"
    assert jobs() == []
    site.path(body["target"]).rmdir()
    job = site.begun("clone", **body)
    assert [found["id"] for found in jobs()] == [job]
    site.ended(job)


def test_waiting_for_the_end(site: Site) -> None:
    for preference in ("wait=60", 'respond-async, WAIT = "60"; x=1', 'foo="a,b", wait=60'):
        body = {"verb": "usage", "volume": "local", "vfolder": site.folder(a="1")}
        response = site.door.call(
            "POST", "/v1/jobs", body, headers={"Prefer": preference}, timeout=120
        )
        assert response.status_code == 202
        assert response.json()["done"] is True, preference
        assert response.headers["Preference-Applied"] == "wait=60"
    for preference in ("wait=²", "wait=" + "9" * 400, "wait", "wait=-1", "waiting=60", "=;,"):
        response = site.submit("usage", {"Prefer": preference.encode()}, vfolder=site.folder())  # type: ignore[dict-item] # bytes
        assert response.status_code == 202
        assert "Preference-Applied" not in response.headers


def test_conditions(at_rest: Site) -> None:
    site = at_rest
    job = site.begun("usage", vfolder=site.folder())
    path = f"/v1/jobs/{job}"
    tag = site.door.call("GET", path).headers["ETag"]
    for header in (tag, f"W/{tag}", f'"x", W/"y",{tag}', "*", f'"a,b" , {tag}'):
        answer = site.door.call("GET", path, headers={"If-None-Match": header})
        assert answer.status_code == 304, header
        assert answer.headers["ETag"] == tag
    for header in ('"x"', tag.strip('"'), tag[:-1], f'"{tag}', tag.upper() + '"'):
        assert site.door.call("GET", path, headers={"If-None-Match": header}).status_code == 200
    site.door.call("POST", f"{path}/pause")
    assert site.door.call("GET", path, headers={"If-None-Match": tag}).status_code == 200


def test_cancel_in_each_state(at_rest: Site) -> None:
    site = at_rest
    queued = site.begun("usage", vfolder=site.folder())
    assert site.door.call("POST", f"/v1/jobs/{queued}/cancel").json()["state"] == "cancelled"
    assert site.door.call("POST", f"/v1/jobs/{queued}/cancel").status_code == 202
    paused = site.begun("usage", vfolder=site.folder())
    site.door.call("POST", f"/v1/jobs/{paused}/pause")
    assert site.door.call("POST", f"/v1/jobs/{paused}/cancel").json()["state"] == "cancelled"


def test_cancel_while_it_runs_and_after(site: Site) -> None:
    body = clone(site)
    for number in range(4000):
        (site.path(body["source"]) / f"n{number}").write_text("x")
    job = site.begun("clone", **body, verify="checksum")
    site.wait(job, lambda found: found["state"] != "queued")
    answer = site.door.call("POST", f"/v1/jobs/{job}/cancel")
    assert answer.status_code in (202, 409)
    ended = site.ended(job)
    assert ended["state"] == ("cancelled" if answer.status_code == 202 else "succeeded")
    assert site.path(body["target"]).exists() == (ended["state"] == "succeeded")
    done = site.begun("usage", vfolder=site.folder())
    site.ended(done)
    late = site.door.call("POST", f"/v1/jobs/{done}/cancel")
    assert late.status_code == 409
    assert late.json()["job_id"] == done


def test_pause_resume_and_retry(at_rest: Site) -> None:
    site = at_rest
    job = site.begun("usage", vfolder=site.folder(), label="l", priority=3)
    assert site.door.call("POST", f"/v1/jobs/{job}/pause").json()["paused"] is True
    assert site.get(job)["state_reason"] == "paused"
    assert site.door.call("POST", f"/v1/jobs/{job}/resume").json()["paused"] is False
    assert site.get(job)["state_reason"] == "volume local is paused until it is resumed"
    assert site.door.call("POST", f"/v1/jobs/{job}/retry").status_code == 409
    site.door.call("POST", f"/v1/jobs/{job}/cancel")
    again = site.door.call("POST", f"/v1/jobs/{job}/retry").json()
    assert (again["retry_of"], again["label"], again["priority"]) == (job, "l", 3)
    assert again["requester"] == "manager"
    for query in ("?only=all", "?x=1"):
        assert site.door.call("POST", f"/v1/jobs/{job}/retry{query}").status_code == 400
    assert site.door.call("POST", f"/v1/jobs/{job}/pause").status_code == 409


def test_the_budget_of_a_volume(site: Site) -> None:
    path = "/v1/volumes/local/bandwidth"
    none = {"bytes_per_second": None, "jobs": None, "streams": None}
    assert site.door.call("GET", path).json() == none
    assert site.door.call("PUT", path, {"bytes_per_second": 1000}).status_code == 204
    limit = site.door.call("GET", path).json()
    assert limit.pop("jobs") >= 0
    assert limit == {"bytes_per_second": 1000, "streams": 0}
    assert site.door.call("PUT", path, {"bytes_per_second": 0}).status_code == 400
    assert site.door.call("PUT", path, {"bytes_per_second": None}).status_code == 204
    assert site.door.call("GET", path).json() == none
    assert site.door.call("GET", "/v1/volumes/none/bandwidth").status_code == 400


def test_forget(site: Site) -> None:
    key = {"Idempotency-Key": uuid4().hex}
    vfolder = site.folder()
    site.door.call("POST", "/v1/volumes/local/pause")
    job = site.submit("usage", key, vfolder=vfolder).json()["id"]
    assert site.door.call("DELETE", f"/v1/jobs/{job}").status_code == 409
    site.door.call("POST", "/v1/volumes/local/resume")
    site.ended(job)
    wait_for(lambda: site.door.call("DELETE", f"/v1/jobs/{job}").status_code == 204)
    assert site.door.call("GET", f"/v1/jobs/{job}").status_code == 404
    assert site.door.call("DELETE", f"/v1/jobs/{job}").status_code == 404
    second = site.submit("usage", key, vfolder=vfolder)
    assert second.status_code == 202
    assert second.json()["id"] != job


def test_lists(at_rest: Site) -> None:
    site, label = at_rest, uuid4().hex
    vfids = [site.folder() for _ in range(5)]
    ids = [site.begun("usage", vfolder=vfid, label=label) for vfid in vfids]
    scope, _, digits = vfids[0].partition("/")
    dashed = str(UUID(digits))

    def found(**query: Any) -> list[str]:
        answer = site.door.call("GET", "/v1/jobs", params={"label": label, **query})
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.json()["jobs"]]

    assert found() == ids[::-1]
    forms = [f"{scope}/{digits}", f"{scope}/{dashed}", f"{scope.upper()}/{digits.upper()}"]
    for vfolder in forms:
        assert found(vfolder=vfolder) == [ids[0]], vfolder
    assert found(scope=scope.replace("-", "").upper()) == [ids[0]]
    assert found(state="queued", verb="usage", volume="local") == ids[::-1]
    assert found(state="running") == []
    since = site.get(ids[3])["created_at"]
    assert found(since=since) == [ids[4], ids[3]]
    page = site.door.call("GET", "/v1/jobs", params={"label": label, "limit": 2}).json()
    site.begun("usage", vfolder=site.folder(), label=label)
    rest = site.door.call("GET", "/v1/jobs", params={"label": label, "cursor": page["next"]}).json()
    assert [job["id"] for job in page["jobs"] + rest["jobs"]] == ids[::-1]


WRONG_FILTERS = [
    ("state", "pending"),
    ("verb", "fly"),
    ("scope", "user:x"),
    ("scope", "group:6a3ce8b1-1b2c-4d5e-8f90-0123456789ab"),
    ("vfolder", "../x"),
    ("vfolder", ""),
    ("limit", "0"),
    ("limit", "501"),
    ("limit", "²"),
    ("since", "yesterday"),
    ("since", "2026-01-01T00:00:00"),
    ("cursor", "x"),
    ("colour", "red"),
]


def test_wrong_filters(site: Site) -> None:
    wrong = []
    for name, value in WRONG_FILTERS:
        answer = site.door.call("GET", "/v1/jobs", params={name: value})
        pointers = [error["pointer"] for error in answer.json().get("errors", [])]
        if answer.status_code != 400 or pointers[:1] != [f"/{name}"]:
            wrong.append(f"{name}={value}: {answer.status_code} {answer.text}")
    assert not wrong, "\n".join(wrong)


def test_a_filter_given_twice(site: Site) -> None:
    assert site.door.call("GET", "/v1/jobs?state=queued&state=failed").status_code == 400


UNKNOWN_IDS = (UNKNOWN, "x", "00000000-0000-0000-0000-000000000000", "%00", "é")
ROUTES_OF_A_JOB = [
    ("GET", ""),
    ("DELETE", ""),
    ("GET", "/log"),
    ("GET", "/report"),
    ("GET", "/events"),
    ("POST", "/cancel"),
    ("POST", "/pause"),
    ("POST", "/resume"),
    ("POST", "/retry"),
]


def test_unknown_is_not_found(site: Site) -> None:
    wrong = []
    for job in UNKNOWN_IDS:
        for method, below in ROUTES_OF_A_JOB:
            answer = site.door.call(method, f"/v1/jobs/{job}{below}")
            code = answer.json().get("error_code")
            if (answer.status_code, code) != (404, "bgtask_read_not-found"):
                wrong.append(f"{method} {job}{below}: {answer.status_code} {answer.text}")
    assert not wrong, "\n".join(wrong)


VFID = f"user:{uuid4()}/{uuid4().hex}"
RIGHT: dict[str, dict[str, Any]] = {
    "clone": {"source": VFID, "target": VFID},
    "delete": {"vfolder": VFID},
    "delete-files": {"vfolder": VFID, "paths": ["a"]},
    "find": {"vfolder": VFID},
    "usage": {"vfolder": VFID},
}
IDS = ["", "x", "user:x", 1, None, [], f"{VFID}/..", f"{VFID}\n", "\ud800", f"group:{VFID[5:]}"]
PATHS = [
    ["/a"],
    ["a/../../b"],
    [".."],
    ["a\0"],
    [""],
    ["."],
    [1],
    [],
    "a",
    None,
    ["x" * 256],
    ["\ud800"],
]
WRONG: dict[str, list[Any]] = {
    "verb": ["", "fly", 1, None, []],
    "volume": ["", 1, None, []],
    "source": IDS,
    "target": IDS,
    "vfolder": IDS,
    "paths": PATHS,
    "verify": ["all", 1, None],
    "recursive": ["yes", 1.5, None],
    "plan": ["yes", 2, None],
    "label": ["x" * 201, 1, None, "\ud800"],
    "requester": ["", "manager", "upload", "user:x", 1, None],
    "priority": [-1, 10, "5", 1.5, None],
    "deadline_seconds": [0, -1, 1e12, "x", []],
    "colour": ["red"],
    "match": ["x" * 1001, 1, None],
    "kind": ["", "socket", 1],
    "min_bytes": [-1, "1", 1.5],
    "newer_than": ["", "yesterday", 1],
}
_OPTIONAL = {"label", "requester", "priority", "deadline_seconds", "plan", "colour"}
_OF: dict[str, Callable[[str], bool]] = {
    "verify": lambda verb: verb == "clone",
    "recursive": lambda verb: verb == "delete-files",
    "match": lambda verb: verb == "find",
    "kind": lambda verb: verb == "find",
    "min_bytes": lambda verb: verb == "find",
    "newer_than": lambda verb: verb == "find",
}


def wrong_bodies() -> list[tuple[str, str, Any]]:
    return [
        (verb, name, value)
        for verb, right in RIGHT.items()
        for name, values in WRONG.items()
        for value in values
        if name in right
        or name in ("verb", "volume", *_OPTIONAL)
        or _OF.get(name, lambda _: False)(verb)
    ]


def test_wrong_bodies_name_the_field_and_change_nothing(at_rest: Site) -> None:
    site = at_rest
    site.quiet()
    vfid = site.folder(a="1")
    local = site.settings.directory / "local"
    before = snapshot(local), site.redis.get("vf:seq")
    for verb, name, value in wrong_bodies():
        body = {"verb": verb, "volume": "local", **RIGHT[verb], name: value}
        answer = site.door.call("POST", "/v1/jobs", body)
        case = (verb, name, value, answer.text)
        assert answer.status_code == 400, case
        problem = answer.json()
        assert any(e["pointer"].startswith(f"/{name}") for e in problem["errors"]), case
        assert str(local) not in answer.text, case
    for name in ("verb", "volume", "vfolder"):
        body = {"verb": "usage", "volume": "local", "vfolder": vfid}
        del body[name]
        answer = site.door.call("POST", "/v1/jobs", body)
        assert answer.json()["errors"][0]["pointer"] == f"/{name}", answer.text
    unknown = site.submit("usage", vfolder=vfid, volume="nowhere")
    assert unknown.status_code == 400
    assert unknown.json()["volume"] == "nowhere"
    absent = site.submit("usage", vfolder=VFID)
    assert absent.status_code == 404
    onto_itself = site.submit("clone", source=vfid, target=vfid)
    assert onto_itself.json()["errors"][0]["pointer"] == "/target"
    assert (snapshot(local), site.redis.get("vf:seq")) == before
