"""Notices reach a receiver, from real doors, by the leader; deaths and a restart lose none."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from core.quota import NoticeStore, WebhookQueue
from core.redis import Database, connect
from tests.api.people.conftest import MORE, People, running_people
from tests.api.people.test_quotas import limited
from tests.api.people.test_story import upload
from tests.support.doors import settings_in
from tests.support.node import wait_for
from tests.support.receiver import SECRET, Receiver, running_receiver, settings_for
from tests.support.valkey import running_valkey
from tests.support.worker import running_worker


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with running_receiver() as found:
        yield found


@pytest.fixture(scope="module")
def posting(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    more = MORE + settings_for(receiver.url)
    with running_people(tmp_path_factory.mktemp("posting"), more) as found:
        yield found


def test_what_the_doors_give_is_posted(posting: People, receiver: Receiver) -> None:
    people, operator, owner = posting, posting.operator(), posting.person()
    vfolder = people.vfolder(owner)
    base = f"/v1/vfolders/{vfolder.id}"
    limited(people, operator, owner.word, 100)
    assert upload(people, owner, base, "a", b"x" * 96).status_code == 201
    reason = {"reason": "a ticket of the owner"}
    answer = people.call(operator, "POST", f"{base}/break-glass", reason)
    assert answer.status_code == 200, answer.text

    def mine() -> list[dict[str, Any]]:
        posts = [post.body for post in receiver.taken()]
        return [body for body in posts if body["data"]["subject"] == str(owner.id)]

    quota, opened = wait_for(lambda: mine() if len(mine()) == 2 else [])
    figures = {"percent": 95, "used_bytes": 96, "limit_bytes": 100, "view": "scope"}
    expected = {**figures, "subject": str(owner.id), "scope_id": str(owner.id), "volume": "local"}
    assert (quota["type"], quota["data"]) == ("quota", {**expected, "vfolder": None})
    assert opened["type"] == "break-glass"
    assert opened["data"]["vfolder"] == str(vfolder.id)
    assert opened["data"]["reason"] == reason["reason"]
    listed = people.call(owner, "GET", "/v1/notices").json()["notices"]
    assert [one["id"] for one in listed] == [opened["id"], quota["id"]]
    assert not receiver.wrong


def test_the_secret_is_shown_nowhere(posting: People) -> None:
    answer = posting.call(posting.operator(), "GET", "/v1/settings")
    assert "vfolder.notices.url" in answer.text
    assert SECRET not in answer.text
    logs = [path.read_text() for path in posting.settings.directory.glob("*.log")]
    assert logs
    assert not [text for text in logs if SECRET in text]


def test_a_receiver_that_hangs_delays_no_request_and_no_job(
    posting: People, receiver: Receiver
) -> None:
    held = receiver.answer

    def hang(_: object) -> int:
        receiver.released.wait()
        return 204

    receiver.answer = hang
    try:
        people, owner = posting, posting.person()
        vfolder, seen = people.vfolder(owner, **{"a.txt": "x"}), len(receiver.posts)
        operator, base = people.operator(), f"/v1/vfolders/{vfolder.id}"
        people.call(operator, "POST", f"{base}/break-glass", {"reason": "look"})
        job = people.call(owner, "POST", f"{base}/delete", {"paths": ["a.txt"]}).json()["id"]
        assert people.ended(owner, job)["state"] == "succeeded"
        client = connect(people.settings, Database.JOBS)
        wait_for(lambda: not client.zcard("vf:outbox"))
        assert len(receiver.posts) == seen
        assert len(WebhookQueue(client)) == 1
    finally:
        receiver.answer = held
        receiver.released.set()


def test_nothing_is_lost_when_leader_and_store_die(tmp_path: Path) -> None:
    """Each notice comes at least once, those of a subject in order, repetitions by the same id."""
    (tmp_path / "valkey").mkdir()
    subjects = [uuid4().hex for _ in range(3)]
    with running_receiver() as first, running_valkey(tmp_path / "valkey") as valkey:
        settings = settings_in(tmp_path, valkey.url, settings_for(first.url))
        port, given = first.port, list[str]()

        def add(numbers: range) -> None:
            with connect(settings, Database.JOBS) as client:
                store = NoticeStore(client, posted=True)
                for number in numbers:
                    for subject in subjects:
                        store.add(subject, {"kind": "expiry", "n": number})
                        given.append(f"{subject} {number}")

        def slow(_: object) -> int:
            time.sleep(0.02)
            return 200

        first.answer = slow
        with running_worker(settings) as process:
            add(range(20))
            wait_for(lambda: len(first.taken()) > 5)
            os.kill(process, signal.SIGKILL)
        valkey.restart(hard=False)
        add(range(20, 25))
        first.close()
        with running_receiver(port) as second:
            with connect(settings, Database.JOBS) as client, running_worker(settings):
                # What the dead leader had taken is due after twenty seconds.
                wait_for(lambda: not len(WebhookQueue(client)), 120)
            posts = [*first.taken(), *second.taken()]
            assert not [*first.wrong, *second.wrong]
    by_id = {post.id: post.body["data"] for post in posts}
    assert len(by_id) == len(given)
    for subject in subjects:
        ids = list(dict.fromkeys(post.id for post in posts if post.id.startswith(subject)))
        assert [by_id[one]["n"] for one in ids] == list(range(25))
    assert len(posts) <= len(given) + len(subjects), "each is posted once, beside those in flight"
