"""Failures: a guessing caller pauses ever longer; callers elsewhere do not."""

import pytest
import redis

from core.access.credentials.failures import (
    FIRST_PAUSE_SECONDS,
    FailureLimits,
    OwnCounts,
    network_of,
)
from core.errors import Throttled
from core.redis import Database, connect
from core.settings import AccessTable
from tests.support.doors import settings_in
from tests.support.valkey import Valkey

HERE, NEIGHBOUR, ELSEWHERE = "192.0.2.7", "192.0.2.200", "198.51.100.1"
TABLE = AccessTable(failures=5, failures_per_network=12)


@pytest.fixture(params=["store", "process", "store away"])
def limits(request: pytest.FixtureRequest) -> FailureLimits:
    if request.param == "process":
        return FailureLimits(TABLE, None)
    if request.param == "store away":
        return FailureLimits(TABLE, redis.Redis(port=1, decode_responses=True))
    valkey: Valkey = request.getfixturevalue("valkey")
    client = redis.Redis.from_url(f"{valkey.url}/0", decode_responses=True)
    client.flushdb()
    return FailureLimits(TABLE, client)


def paused(limits: FailureLimits, address: str, credential: str) -> int:
    """How long the caller has to pause (seconds)."""
    try:
        limits.check(address, credential)
    except Throttled as error:
        return int(error.facts["retry_after"])
    return 0


def test_the_fifth_failure_pauses_this_credential_of_this_network(limits: FailureLimits) -> None:
    for _ in range(4):
        limits.failed(HERE, "key")
    assert limits.check(HERE, "key"), "it has failures"
    assert paused(limits, HERE, "key") == 0
    limits.failed(HERE, "key")
    assert 1 <= paused(limits, HERE, "key") <= FIRST_PAUSE_SECONDS
    assert paused(limits, NEIGHBOUR, "key"), "the same network"
    assert not paused(limits, ELSEWHERE, "key"), "no caller elsewhere is locked out"
    assert not paused(limits, HERE, "other key")
    assert not limits.check(HERE, "other key")


def test_credentials_that_have_ended_shut_nobody_else_out(limits: FailureLimits) -> None:
    """In the morning the tokens of a whole office have ended; none of them was guessed."""
    for number in range(20):
        for _ in range(6):
            limits.failed(HERE, f"token {number}", genuine=True)
        assert paused(limits, HERE, f"token {number}"), "it pauses alone"
    assert not paused(limits, NEIGHBOUR, "key")
    for number in range(12):
        limits.failed(HERE, f"guess {number}")
    assert paused(limits, NEIGHBOUR, "key")


def test_pauses_double_up_to_the_longest(limits: FailureLimits) -> None:
    for _ in range(5 + 3):
        limits.failed(HERE, "key")
    assert 8 < paused(limits, HERE, "key") <= 16
    for _ in range(30):
        limits.failed(HERE, "key")
    longest = TABLE.failure_pause_max_seconds
    assert longest - 60 < paused(limits, HERE, "key") <= longest


def test_a_proved_credential_is_forgiven(limits: FailureLimits) -> None:
    for _ in range(6):
        limits.failed(HERE, "key")
    limits.succeeded(HERE, "key")
    assert not limits.check(HERE, "key")


def test_a_network_pauses_for_its_window(limits: FailureLimits) -> None:
    for number in range(12):
        limits.failed(HERE, f"guess-{number}")
    assert 200 < paused(limits, NEIGHBOUR, "another") <= TABLE.failure_window_seconds
    assert not paused(limits, ELSEWHERE, "another")


def test_counts_of_a_process_end_and_are_bounded() -> None:
    now = [0.0]
    counts = OwnCounts(lambda: now[0])
    assert [counts.add("a", 10, again=False) for _ in range(3)] == [1, 2, 3]
    now[0] = 9.0
    assert (counts.count("a"), counts.left("a")) == (3, 1.0)
    now[0] = 10.0
    assert (counts.count("a"), counts.left("a")) == (0, 0.0)
    assert counts.add("a", 10, again=True) == 1
    for number in range(10_100):
        counts.add(f"guess-{number}", 10, again=True)
    assert len(counts._counts) == 10_000


def test_all_keys_in_the_store_end(valkey: Valkey, tmp_path: "pytest.TempPathFactory") -> None:
    client = connect(settings_in(tmp_path, valkey.url), Database.LIVE)  # type: ignore[arg-type] # a path
    client.flushdb()
    limits = FailureLimits(TABLE, client)
    for _ in range(9):
        limits.failed(HERE, "vfk_secretSecret")
    names = list(client.scan_iter("*"))
    assert len(names) == 3
    assert all(client.pttl(name) > 0 for name in names)
    assert not any("secretSecret" in name for name in names)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        ("x" * 9000, "unknown"),
    ],
)
def test_an_address_counts_for_its_network(address: str, network: str) -> None:
    assert network_of(address) == network
