"""Sign-ins: they end by themselves, are bounded in number, and never outlive what made them."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis

from core.access import Caller, CredentialFacts, Scope, Subject
from core.access.credentials.signins import SIGN_INS_MAX, USE_SECONDS, SignIns
from core.errors import AccessUnavailable
from core.settings import AccessTable
from tests.support.valkey import Valkey

TABLE = AccessTable(sign_in_seconds=1000, sign_in_idle_seconds=300)


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def caller(expires_at: float | None = None) -> Caller:
    facts = CredentialFacts(
        kind="token", id="t", scopes=frozenset({Scope.JOBS}), expires_at=expires_at
    )
    return Caller(subject=Subject(kind="user", id=uuid4()), credential=facts, address="::1")


@pytest.fixture
def client(valkey: Valkey) -> Iterator["redis.Redis"]:
    with valkey.client() as found:
        found.flushdb()
        yield found


def test_a_sign_in_ends_with_its_time_and_its_credential(client: "redis.Redis") -> None:
    clock = Clock()
    sign_ins = SignIns(TABLE, client, clock)
    long, text = sign_ins.begin(caller(), "a browser")
    short, other = sign_ins.begin(caller(clock.now + 50))
    assert (long.ends_at - clock.now, short.ends_at - clock.now) == (1000, 50)
    assert (long.facts.kind, long.facts.id, long.facts.expires_at) == (
        *("cookie", long.id),
        long.ends_at,
    )
    clock.now += 50
    assert sign_ins.find(other) is None
    assert sign_ins.find(text) is not None
    clock.now += 950
    assert sign_ins.find(text) is None


def test_use_prolongs_up_to_the_end(client: "redis.Redis") -> None:
    clock = Clock()
    sign_ins = SignIns(TABLE, client, clock)
    _, text = sign_ins.begin(caller())
    (key,) = client.scan_iter("vfolder:access:signin:*")
    assert 290_000 < client.pttl(key) <= 300_000
    client.pexpire(key, 5_000)
    assert sign_ins.find(text) is not None
    assert client.pttl(key) <= 5_000, "one write a minute"
    clock.now += USE_SECONDS
    found = sign_ins.find(text)
    assert found is not None
    assert found.last_used_at == clock.now
    assert client.pttl(key) > 290_000
    clock.now += 800
    assert sign_ins.find(text) is not None
    assert client.pttl(key) <= 140_000, "not beyond its end"


def test_a_short_idle_time_ends_no_sign_in_that_is_used(client: "redis.Redis") -> None:
    clock = Clock()
    sign_ins = SignIns(AccessTable(sign_in_seconds=1000, sign_in_idle_seconds=20), client, clock)
    _, text = sign_ins.begin(caller())
    (key,) = client.scan_iter("vfolder:access:signin:*")
    client.pexpire(key, 5000)
    clock.now += 10
    assert sign_ins.find(text)
    assert client.pttl(key) > 15_000


def test_an_ended_sign_in_does_not_come_back(client: "redis.Redis") -> None:
    clock = Clock()
    sign_ins = SignIns(TABLE, client, clock)
    asked = caller()
    made, text = sign_ins.begin(asked)
    assert sign_ins.end(asked.subject, made.id)
    clock.now += USE_SECONDS
    assert sign_ins.find(text) is None
    assert sign_ins.of(asked.subject) == []
    assert list(client.scan_iter("*signin:*")) == []


def test_the_oldest_of_too_many_end(client: "redis.Redis") -> None:
    clock = Clock()
    sign_ins = SignIns(TABLE, client, clock)
    asked = caller()
    first, text = sign_ins.begin(asked)
    for _ in range(SIGN_INS_MAX):
        clock.now += 1
        sign_ins.begin(asked)
    assert len(sign_ins.of(asked.subject)) == SIGN_INS_MAX
    assert sign_ins.find(text) is None
    assert first.id not in {one.id for one in sign_ins.of(asked.subject)}


def test_other_texts_are_no_sign_in(client: "redis.Redis") -> None:
    sign_ins = SignIns(TABLE, client)
    for text in ("", "x", "é" * 50, "*", "\udcff", "x" * 100_000):
        assert sign_ins.find(text) is None
    client.set("vfolder:access:signin:" + "0" * 64, "{}")


def test_without_the_store_there_is_no_answer() -> None:
    sign_ins = SignIns(TABLE, redis.Redis(port=1))
    for call in (
        lambda: sign_ins.begin(caller()),
        lambda: sign_ins.find("x"),
        lambda: sign_ins.of(caller().subject),
        lambda: sign_ins.end(caller().subject, "x"),
    ):
        with pytest.raises(AccessUnavailable):
            call()
