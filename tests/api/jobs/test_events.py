"""Event streams: every change, taken up after a break, alive when nothing happens, bounded."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import requests

from core.jobs.store import LIVE_CHANNEL
from tests.api.jobs.conftest import STREAMS, WAITS, Site
from tests.support.doors import AUTH
from tests.support.node import wait_for
from vfolder_client.jobs import events

CLIENTS = 20


def asked(site: Site, job: str, last: str | None = None) -> requests.Response:
    headers = AUTH | ({"Last-Event-ID": last} if last is not None else {})
    url = f"{site.door.url}/v1/jobs/{job}/events"
    return requests.get(url, headers=headers, stream=True, timeout=60)


def opened(site: Site, job: str, last: str | None = None) -> requests.Response:
    """A stream, as soon as the door has seen that streams of tests before are gone."""

    def room() -> list[requests.Response]:
        response = asked(site, job, last)
        if response.status_code != 503:
            return [response]
        response.close()
        return []

    return wait_for(room, failure="other streams keep all the room")[0]


def read(response: requests.Response) -> list[tuple[str, str, dict[str, Any]]]:
    with response:
        found = events(response.iter_content(None))
        return [(number, name, json.loads(data)) for number, name, data in found]


def test_to_the_end_and_again_from_the_middle(site: Site) -> None:
    job = site.begun("usage", vfolder=site.folder(a="1"))
    response = opened(site, job)
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Accel-Buffering"] == "no"
    found = read(response)
    numbers = [int(number) for number, _, _ in found]
    assert numbers == sorted(numbers)
    assert [name for _, name, _ in found][-2:] == ["job", "done"]
    assert found[-1][2] == site.get(job)
    again = read(opened(site, job, found[-1][0]))
    assert again[-1] == found[-1]
    for odd in ("x", "9" * 5000, "-1", "²".encode().decode("latin-1")):
        assert read(opened(site, job, odd))[-1] == found[-1]


def test_only_what_is_new_after_a_break(at_rest: Site) -> None:
    site = at_rest
    job = site.begun("usage", vfolder=site.folder())
    with opened(site, job) as first:
        number, name, document = next(iter(events(first.iter_content(None))))
    assert (name, json.loads(document)["state"]) == ("job", "queued")
    site.door.call("POST", f"/v1/jobs/{job}/pause")
    with opened(site, job, number) as second:
        later, _, document = next(iter(events(second.iter_content(None))))
    assert int(later) > int(number)
    assert json.loads(document)["paused"] is True
    site.door.call("POST", f"/v1/jobs/{job}/cancel")
    assert read(opened(site, job, later))[-1][2]["state"] == "cancelled"


def test_a_version_is_sent_once(at_rest: Site) -> None:
    """Wakes without a change send nothing: a client counts on ids that rise."""
    site = at_rest
    job = site.begun("usage", vfolder=site.folder())
    numbers = []
    with opened(site, job) as response:
        stream = iter(events(response.iter_content(None)))
        for turn in range(10):
            number, _, document = next(stream)
            numbers.append(int(number))
            assert json.loads(document)["version"] == int(number)
            for _ in range(3):
                site.redis.publish(LIVE_CHANNEL, f"{job} {number} queued")
                time.sleep(0.02)  # a door that would send the version again has time to
            site.door.call("POST", f"/v1/jobs/{job}/{'resume' if turn % 2 else 'pause'}")
    site.door.call("POST", f"/v1/jobs/{job}/cancel")
    with opened(site, job, str(numbers[-1])) as response:
        numbers += [int(number) for number, name, _ in read(response) if name == "job"]
    assert numbers == sorted(set(numbers))


def test_a_comment_when_nothing_happens(at_rest: Site) -> None:
    site = at_rest
    job = site.begun("usage", vfolder=site.folder())
    seen = b""
    with opened(site, job) as response:
        for chunk in response.iter_content(None):
            seen += chunk
            if b": alive\n\n" in seen:
                break
    assert seen.startswith(b"retry: ")
    site.door.call("POST", f"/v1/jobs/{job}/cancel")


def test_many_at_once_all_see_the_end(at_rest: Site) -> None:
    site = at_rest
    job = site.begun("usage", vfolder=site.folder())
    with ThreadPoolExecutor(CLIENTS) as pool:
        streams = list(pool.map(lambda _: opened(site, job), range(CLIENTS)))
        reading = [pool.submit(read, stream) for stream in streams]
        site.door.call("POST", f"/v1/jobs/{job}/cancel")
        for future in reading:
            assert future.result(60)[-1][1:] == ("done", site.get(job))


def test_no_more_than_there_is_room_for(at_rest: Site) -> None:
    site = at_rest
    job = site.begun("usage", vfolder=site.folder())
    with ExitStack() as stack:
        for _ in range(STREAMS):
            response = stack.enter_context(opened(site, job))
            assert response.status_code == 200
        refused = stack.enter_context(asked(site, job))
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.headers["Content-Type"] == "application/problem+json"
        site.door.call("POST", f"/v1/jobs/{job}/cancel")


def test_one_that_may_not_wait_is_answered_at_once(at_rest: Site) -> None:
    """A preference is never a reason to refuse."""
    site = at_rest
    job = site.begun("usage", vfolder=site.folder())

    def patient(_: int) -> requests.Response:
        headers = AUTH | {"Prefer": "wait=60"}
        return requests.get(f"{site.door.url}/v1/jobs/{job}", headers=headers, timeout=120)

    with ThreadPoolExecutor(WAITS + 1) as pool:
        callers = [pool.submit(patient, number) for number in range(WAITS + 1)]
        wait_for(lambda: any(caller.done() for caller in callers))
        assert site.get(job)["state"] == "queued"
        site.door.call("POST", f"/v1/jobs/{job}/cancel")
        answers = [caller.result() for caller in callers]
        assert [answer.status_code for answer in answers] == [200] * (WAITS + 1)
        applied = ["Preference-Applied" in answer.headers for answer in answers]
        assert sorted(applied) == [False] + [True] * WAITS
