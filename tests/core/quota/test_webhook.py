"""The webhook of notices against a real receiver: signed, in order, repeated, and with an end."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis import Redis

from core.errors import ConfigurationError
from core.process.json_post import FAILURES_MAX
from core.quota import NoticeStore, Thresholds, WebhookQueue, webhook_queue
from core.quota.webhook import PAUSE_MAX_SECONDS, Webhook, body_of, signature
from core.redis import Database
from core.settings import Settings
from core.telemetry import metrics
from tests.support.doors import settings_in
from tests.support.receiver import (
    SECRET,
    Receiver,
    private_tls,
    running_receiver,
    settings_for,
)
from tests.support.valkey import Valkey

ALWAYS: Callable[[], bool] = lambda: True  # noqa: E731 - a name for what deliver takes


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as found:
        yield found


@pytest.fixture
def settings(receiver: Receiver, valkey: Valkey, tmp_path: Path) -> Settings:
    forget(valkey)
    return settings_in(tmp_path, valkey.url, settings_for(receiver.url))


@pytest.fixture
def store(settings: Settings, valkey: Valkey) -> NoticeStore:
    return NoticeStore(jobs(valkey), posted=bool(settings.vfolder.notices.url))


def jobs(valkey: Valkey) -> Redis:
    """A client of the database of jobs."""
    return valkey.client(Database.JOBS.value)


def forget(valkey: Valkey) -> None:
    """Let nothing wait that another test left."""
    client = jobs(valkey)
    for key in client.scan_iter("vf:webhook*"):
        client.delete(key)


def due_now(valkey: Valkey) -> None:
    """Let what was postponed be due."""
    client = jobs(valkey)
    for subject in client.zrange("vf:webhook-due", 0, -1):
        client.zadd("vf:webhook-due", {str(subject): 0})


def dropped(reason: str) -> float:
    return float(metrics.NOTICES_DROPPED.labels(reason)._value.get())


def test_a_signature_is_that_of_standard_webhooks() -> None:
    """The test vector that the libraries of Standard Webhooks share."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_threshold_is_posted(settings: Settings, receiver: Receiver, valkey: Valkey) -> None:
    scope, vfolder, owner = uuid4(), uuid4(), uuid4()
    checks = Thresholds(settings)
    assert checks.check("v", scope.hex, 80, 100)
    assert checks.check("v", f"{scope.hex}/{vfolder.hex}", 95, 100, owner=owner.hex)
    assert not checks.check("v", scope.hex, 81, 100)
    assert checks.check("v", ".", 100, 100), "a scope of no subject rises, without a notice"
    assert Webhook(settings).deliver(ALWAYS) == 2
    assert not receiver.wrong
    first, second = sorted((post.body for post in receiver.posts), key=lambda one: one["id"][33:])
    figures = {"volume": "v", "scope_id": str(scope), "used_bytes": 80, "limit_bytes": 100}
    about = {"subject": str(scope), "percent": 80, "view": "scope", "vfolder": None}
    assert (first["type"], first["data"]) == ("quota", {**figures, **about})
    assert second["data"]["subject"] == str(owner)
    assert second["data"]["vfolder"] == str(vfolder)
    assert set(first) == {"type", "timestamp", "id", "data"}
    (notice,) = NoticeStore(jobs(valkey)).of([scope], 10)
    assert notice.id == first["id"], "a reader of `GET /v1/notices` finds it by the same id"
    assert len(WebhookQueue(jobs(valkey))) == 0
    assert [str(key) for key in jobs(valkey).keys("vf:webhook*")] == []


def test_without_a_url_nothing_waits(tmp_path: Path, valkey: Valkey) -> None:
    forget(valkey)
    Thresholds(settings_in(tmp_path, valkey.url)).check("v", uuid4().hex, 80, 100)
    NoticeStore(jobs(valkey)).add(uuid4().hex, {"kind": "quota"})
    assert len(WebhookQueue(jobs(valkey))) == 0


def test_notices_of_a_subject_are_in_order_and_others_go_on(
    settings: Settings, receiver: Receiver, store: NoticeStore, valkey: Valkey
) -> None:
    """One that the receiver does not take keeps back those behind it, and no other subject."""
    held, other = uuid4(), uuid4()
    for number in range(3):
        for subject in (held, other):
            store.add(subject.hex, {"kind": "expiry", "n": number})
    refuses = True

    def answer(body: dict[str, Any]) -> int:
        return 500 if refuses and body["data"]["subject"] == str(held) else 200

    receiver.answer = answer
    webhook = Webhook(settings)
    assert webhook.deliver(ALWAYS) == 3

    def of(subject: UUID) -> list[int]:
        posts = [one.body["data"] for one in receiver.taken()]
        return [one["n"] for one in posts if one["subject"] == str(subject)]

    assert (of(held), of(other)) == ([], [0, 1, 2])
    assert [post.body["data"]["n"] for post in receiver.posts if post.status == 500] == [0]
    assert webhook.deliver(ALWAYS) == 0, "it waits for its pause"
    refuses = False
    due_now(valkey)
    assert webhook.deliver(ALWAYS) == 3
    assert of(held) == [0, 1, 2]
    tries = [post.id for post in receiver.posts if post.body["data"]["subject"] == str(held)]
    assert tries[0] == tries[1], "a repetition has the same id"
    assert not receiver.wrong


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 410, 429, 500, 503])
def test_no_other_status_takes_a_notice(
    settings: Settings, receiver: Receiver, store: NoticeStore, valkey: Valkey, status: int
) -> None:
    store.add(uuid4().hex, {"kind": "expiry"})
    receiver.answer = lambda _: status
    assert Webhook(settings).deliver(ALWAYS) == 0
    assert len(receiver.posts) == 1, "no redirect is followed"
    assert not receiver.wrong
    assert len(WebhookQueue(jobs(valkey))) == 1


def test_a_pause_grows_and_has_a_bound(
    settings: Settings, receiver: Receiver, store: NoticeStore, valkey: Valkey
) -> None:
    subject, client = uuid4(), jobs(valkey)
    store.add(subject.hex, {"kind": "expiry"})
    receiver.answer = lambda _: 503
    pauses = []
    for failures in (0, 3, 1000):
        client.hset("vf:webhook-tries", subject.hex, failures)
        due_now(valkey)
        before = time.time()
        Webhook(settings).deliver(ALWAYS)
        pauses.append(float(str(client.zscore("vf:webhook-due", subject.hex))) / 1000 - before)
    assert 3 < pauses[0] < 20 < pauses[1] < 100 < pauses[2] < PAUSE_MAX_SECONDS * 2


def test_a_notice_that_is_never_taken_has_an_end(
    receiver: Receiver, valkey: Valkey, tmp_path: Path
) -> None:
    table = settings_for(receiver.url, "give-up-seconds = 1e-9")
    settings = settings_in(tmp_path, valkey.url, table)
    forget(valkey)
    store, before = NoticeStore(jobs(valkey), posted=True), dropped("given-up")
    store.add(uuid4().hex, {"kind": "expiry"})
    receiver.answer = lambda _: 500
    assert Webhook(settings).deliver(ALWAYS) == 0
    assert len(receiver.posts) == 1, "it was tried"
    assert len(WebhookQueue(jobs(valkey))) == 0
    assert dropped("given-up") == before + 1


def test_a_full_queue_takes_no_more_and_says_so(
    settings: Settings, store: NoticeStore, valkey: Valkey
) -> None:
    client, before = jobs(valkey), dropped("full")
    client.hset("vf:webhook", mapping={str(n): "" for n in range(webhook_queue.WAITING_MAX - 1)})
    subject = uuid4()
    store.add(subject.hex, {"kind": "expiry", "n": 0})
    store.add(subject.hex, {"kind": "expiry", "n": 1})
    assert Thresholds(settings).check("v", subject.hex, 80, 100)
    assert len(WebhookQueue(client)) == webhook_queue.WAITING_MAX
    assert dropped("full") == before + 2
    assert len(store.of([subject], 10)) == 3, "readers have all"


def test_a_receiver_that_is_away_costs_one_post_in_ten_seconds(
    settings: Settings, receiver: Receiver, store: NoticeStore
) -> None:
    for _ in range(FAILURES_MAX * 2):
        store.add(uuid4().hex, {"kind": "expiry"})
    receiver.answer = lambda _: 502
    webhook = Webhook(settings)
    webhook.deliver(ALWAYS)
    assert len(receiver.posts) == FAILURES_MAX
    webhook.deliver(ALWAYS)
    assert len(receiver.posts) <= FAILURES_MAX + 1


def test_a_receiver_that_hangs_is_left(
    receiver: Receiver, store: NoticeStore, valkey: Valkey, tmp_path: Path
) -> None:
    table = settings_for(receiver.url, "timeout = 0.2")
    store.add(uuid4().hex, {"kind": "expiry"})

    def hang(_: dict[str, Any]) -> int:
        receiver.released.wait()
        return 200

    receiver.answer = hang
    assert Webhook(settings_in(tmp_path, valkey.url, table)).deliver(ALWAYS) == 0
    assert len(WebhookQueue(jobs(valkey))) == 1


def test_what_a_dead_sender_took_is_posted_again(
    settings: Settings, receiver: Receiver, store: NoticeStore, valkey: Valkey
) -> None:
    subject, queue = uuid4(), WebhookQueue(jobs(valkey))
    store.add(subject.hex, {"kind": "expiry"})
    taken = queue.take(100)
    assert taken is not None
    webhook = Webhook(settings)
    assert webhook.deliver(ALWAYS) == 0, "it is posted by the one that took it"
    due_now(valkey)
    assert webhook.deliver(ALWAYS) == 1
    assert not queue.end(taken), "the dead sender wakes, and removes no other notice"
    assert not queue.postpone(taken, 5)
    assert [post.id for post in receiver.posts] == [taken.id]


def test_a_certificate_of_a_private_authority(
    store: NoticeStore, valkey: Valkey, tmp_path: Path
) -> None:
    authority, tls = private_tls(tmp_path)
    with running_receiver(tls=tls) as receiver:
        for more, taken in (("", 0), (f'ca = "{authority.name}"', 1)):
            store.add(uuid4().hex, {"kind": "expiry"})
            settings = settings_in(tmp_path, valkey.url, settings_for(receiver.url, more))
            due_now(valkey)
            assert bool(Webhook(settings).deliver(ALWAYS)) == bool(taken)
        assert not receiver.wrong


def test_ids_in_a_body() -> None:
    vfolder, subject = uuid4(), uuid4()
    at = f"{subject.hex}-1700000000123-4"
    facts = {"kind": "break-glass", "vfolder": str(vfolder), "by": "user:x", "reason": "why"}
    body = json.loads(body_of(at, subject.hex, facts))
    assert body["timestamp"].startswith("2023-11-14T22:13:20")
    assert body["id"] == at
    assert body["data"]["vfolder"] == str(vfolder)
    assert json.loads(body_of(at, subject.hex, {"kind": "quota", "scope": "."}))["data"] == {
        "subject": str(subject),
        "scope_id": None,
    }


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("url = 'http://hook.example/x'", "no https URL"),
        ("url = 'https://user:pw@hook.example/x'", "has a password"),
        ("url = 'https://hook.example/x'", "at least 32 bytes"),
        (f"url = 'https://hook.example/x'\nsecret = '{'x' * 31}'", "at least 32 bytes"),
        ("url = 'https://hook.example/x'\nsecret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'", "32"),
        ("url = 'https://hook.example/x'\nsecret = 'whsec_%'", "no base64"),
        (
            "url = 'https://hook.example/x'\nsecret = 'ticket-secret-of-the-tests-0123456789'",
            "that",
        ),
        (f"secret = '{SECRET}'", "url is missing"),
        (f"url = 'https://h/x'\nsecret = '{SECRET}'\nsecret-file = 'x'", "two values"),
        ("url = 'https://h/x'\nsecret-file = 'gone'", "No such file"),
        (f"url = 'https://h/x'\nsecret = '{SECRET}'\nca = 'gone.pem'", "gone.pem does not exist"),
        (f"url = 'https://h/x'\nsecret = '{SECRET}'\nclient-cert = 'a.pem'", "go together"),
        (f"url = 'https://h/x'\nsecret = '{SECRET}'\ntimeout = 31", "at most 30"),
        (f"url = 'https://h/x'\nsecret = '{SECRET}'\ngive-up-seconds = 0", "above 0"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(tmp_path: Path, table: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings_in(tmp_path, more=f"[vfolder.notices]\n{table}\n")
    assert words in refused.value.detail
    assert SECRET not in refused.value.detail


def test_the_secret_may_be_in_a_file_and_in_the_form_of_the_libraries(tmp_path: Path) -> None:
    key = bytes(range(32))
    (tmp_path / "hook").write_text(f"whsec_{base64.b64encode(key).decode()}\n")
    table = "[vfolder.notices]\nurl = 'https://hook.example/x'\nsecret-file = 'hook'\n"
    assert settings_in(tmp_path, more=table).vfolder.notices.key == key
