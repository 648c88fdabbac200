"""The ledger of quota scopes on a real store: sums, ends, marks, and what former versions wrote."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from redis import Redis

from core.quota import Account, QuotaLedger, Total, TotalLimits
from core.quota.ledger import EXPIRED_MAX, HOLD_SECONDS
from core.quota.totals import CHECK_SECONDS
from core.uploads.store import UPLOAD_TTL_SECONDS
from tests.support.valkey import Valkey

VOLUME = "v"
LIMIT = 1000
PAST_MS = 1
#: Far beyond what a test takes; far less than a reservation lasts.
SLACK_SECONDS = 3600


@pytest.fixture
def client(valkey: Valkey, redis_client: Redis) -> Iterator[Redis]:
    with Redis.from_url(f"{valkey.url}/1", decode_responses=True) as jobs:
        yield jobs


@pytest.fixture
def ledger(client: Redis) -> QuotaLedger:
    return QuotaLedger(client, VOLUME)


@pytest.fixture
def scope(ledger: QuotaLedger) -> str:
    """A scope that was counted, and holds nothing."""
    name = uuid4().hex
    ledger.record_count(name, 0, 0)
    return name


def at_most(*names: str, limit: int = LIMIT) -> list[Account]:
    return [Account(name, limit, "owner") for name in names]


def holds(scope: str) -> str:
    return f"vf:holds:{VOLUME}:{scope}"


def ends(scope: str) -> str:
    return f"vf:holds-ends:{VOLUME}:{scope}"


def now_ms(client: Redis) -> int:
    seconds, micros = client.time()
    return int(seconds * 1000 + micros // 1000)


def let_pass(client: Redis, scope: str, *holders: str) -> None:
    """Move the ends of reservations into the past."""
    for holder in holders:
        size = client.hget(holds(scope), holder).split()[0]
        client.hset(holds(scope), holder, f"{size} {PAST_MS}")
        client.zadd(ends(scope), {holder: PAST_MS})


def test_reservations_add_up_and_end(ledger: QuotaLedger, scope: str) -> None:
    assert ledger.reserve(at_most(scope), "a", 600).others_bytes is None
    assert ledger.reserve(at_most(scope), "b", 401).others_bytes == 600
    assert ledger.reserve(at_most(scope), "b", 400).others_bytes is None
    assert ledger.read(scope).used_bytes == 1000
    assert ledger.settle([scope], "a", 500) == [900]
    assert ledger.settle([scope], "b") == [500]
    balance = ledger.read(scope)
    assert (balance.settled_bytes, balance.held_bytes) == (500, 0)


def test_a_reservation_replaces_the_former_one_of_its_holder(
    ledger: QuotaLedger, scope: str
) -> None:
    for size in (900, 100, 1000):
        assert ledger.reserve(at_most(scope), "a", size).others_bytes is None
    assert ledger.reserve(at_most(scope), "a", 1001).others_bytes == 0
    assert ledger.read(scope).held_bytes == 1000  # the former one stays


def test_the_settlement_of_a_holder_is_made_once(ledger: QuotaLedger, scope: str) -> None:
    ledger.reserve(at_most(scope), "job", 300)
    for _ in range(3):
        assert ledger.settle([scope], "job", 300) == [300]
    assert ledger.settle([scope], "other", 300) == [600]
    assert ledger.settle([scope], "third", -200) == [400]


def test_a_settlement_before_the_first_count_is_not_made_again_after_it(
    ledger: QuotaLedger,
) -> None:
    scope = uuid4().hex
    mark = ledger.growth_mark(scope)
    assert ledger.settle([scope], "job", 300) == [None]
    ledger.record_count(scope, 100, mark)  # a count that may have missed the file
    assert ledger.settle([scope], "job", 300) == [400]


def test_a_reservation_lasts_as_long_as_an_upload_and_each_one_begins_again(
    ledger: QuotaLedger, scope: str, client: Redis
) -> None:
    assert HOLD_SECONDS >= UPLOAD_TTL_SECONDS
    least = now_ms(client) + (HOLD_SECONDS - SLACK_SECONDS) * 1000
    ledger.reserve(at_most(scope), "a", 10)
    client.hset(holds(scope), "a", f"10 {now_ms(client) + SLACK_SECONDS * 1000}")
    ledger.reserve(at_most(scope), "a", 10)
    assert int(client.hget(holds(scope), "a").split()[1]) > least
    assert client.zscore(ends(scope), "a") > least
    assert ledger.read(scope).held_bytes == 10


def test_an_expired_reservation_frees_its_space(
    ledger: QuotaLedger, scope: str, client: Redis
) -> None:
    ledger.reserve(at_most(scope), "dead", 700)
    ledger.reserve(at_most(scope), "live", 200)
    let_pass(client, scope, "dead")
    assert ledger.read(scope).held_bytes == 200
    assert client.hkeys(holds(scope)) == ["live"]


def test_many_expired_reservations_refuse_nobody(
    ledger: QuotaLedger, scope: str, client: Redis
) -> None:
    holders = [f"h{n}" for n in range(2 * EXPIRED_MAX + 1)]
    for holder in holders:
        ledger.reserve(at_most(scope), holder, 1)
    let_pass(client, scope, *holders)
    assert ledger.reserve(at_most(scope), "new", LIMIT).others_bytes is None
    assert client.hkeys(holds(scope)) == ["new"]
    assert ledger.read(scope).held_bytes == LIMIT


def test_what_a_former_version_wrote_is_read(
    ledger: QuotaLedger, scope: str, client: Redis
) -> None:
    soon = now_ms(client) + SLACK_SECONDS * 1000
    former = {"a": f"300 {soon}", "b": f"200 {soon}", "dead": f"900 {PAST_MS}"}
    client.hset(holds(scope), mapping=former)
    assert ledger.read(scope).held_bytes == 500
    assert ledger.reserve(at_most(scope), "c", 501).others_bytes == 500
    assert ledger.settle([scope], "a", 0) == [200]
    client.hset(holds(scope), "beside", f"50 {soon}")  # by a process of the former version
    assert ledger.read(scope).held_bytes == 250
    client.hdel(holds(scope), "beside", "b")
    assert ledger.read(scope).held_bytes == 0


def test_a_scope_that_was_never_counted_is_unknown_and_accepts(ledger: QuotaLedger) -> None:
    scope = uuid4().hex
    answer = ledger.reserve(at_most(scope), "a", 10 * LIMIT)
    assert (answer.others_bytes, not answer.uncounted) == (None, False)
    assert ledger.read(scope).used_bytes is None
    assert scope not in ledger.scopes()


def test_sizes_beyond_any_disk_are_summed(ledger: QuotaLedger) -> None:
    scope, huge = uuid4().hex, 1 << 62
    for holder in "abc":
        assert ledger.reserve(at_most(scope), holder, huge).uncounted
    for holder in "abc":
        ledger.settle([scope], holder)
    assert ledger.read(scope).held_bytes == 0


def test_scopes_are_listed_with_those_of_a_former_version(
    ledger: QuotaLedger, client: Redis, scope: str
) -> None:
    former = uuid4().hex
    client.hset(f"vf:quota:{VOLUME}:{former}", "used", "5")
    assert {scope, former} <= set(ledger.scopes())
    ledger.forget(former)
    assert former not in ledger.scopes()
    assert client.keys(f"vf:*:{VOLUME}:{former}") == []


def test_no_script_reads_every_holder(ledger: QuotaLedger, scope: str, client: Redis) -> None:
    for number in range(50):
        ledger.reserve(at_most(scope), f"h{number}", 1)
    client.config_resetstat()
    ledger.reserve(at_most(scope), "h1", 2)
    ledger.read(scope)
    ledger.settle([scope], "h1", 2)
    calls = client.info("commandstats")
    assert "cmdstat_hgetall" not in calls
    assert sum(stat["calls"] for name, stat in calls.items() if "eval" not in name) < 60


def test_a_settlement_as_reserved_gains_what_was_reserved_once(
    ledger: QuotaLedger, scope: str
) -> None:
    ledger.reserve(at_most(scope), "upload", 100)
    for _ in range(2):
        assert ledger.settle([scope], "upload", 700, as_reserved=True) == [100]
    assert ledger.settle([scope], "late", 700, as_reserved=True) == [800]


def test_a_loss_that_a_count_may_have_seen_is_not_subtracted_again(
    ledger: QuotaLedger, scope: str
) -> None:
    ledger.record_count(scope, 900, 0)
    before = ledger.clock_ms() + 1  # the count has ended before the removal begins
    assert ledger.settle([scope], "a", -100, since_ms=before) == [800]
    ledger.record_count(scope, 700, 0)
    assert ledger.settle([scope], "b", -100, since_ms=PAST_MS) == [700]
    assert ledger.settle([scope], "c", 50, since_ms=PAST_MS) == [750]
    assert ledger.settle([scope], "d", -50) == [700]


# -- Several accounts ------------------------------------------------------------------------------
def account(ledger: QuotaLedger, name: str, used_bytes: int) -> str:
    ledger.record_count(name, used_bytes, 0)
    return name


def test_the_account_with_the_least_room_decides_and_is_named(
    ledger: QuotaLedger, scope: str
) -> None:
    vfolder = account(ledger, f"{scope}/{uuid4().hex}", 100)
    accounts = [Account(scope, 1000, "a"), Account(vfolder, 300, "b")]
    refused = ledger.reserve(accounts, "x", 201)
    assert (refused.full, refused.others_bytes) == (accounts[1], 100)
    assert refused.as_of is not None
    refused = ledger.reserve([Account(scope, 50, "a"), accounts[1]], "x", 201)
    assert refused.full == Account(scope, 50, "a"), "it has 50 left, the vfolder 200"
    for name in (scope, vfolder):
        assert ledger.read(name).held_bytes == 0, "a refusal reserves nothing anywhere"
    assert ledger.reserve(accounts, "x", 200).full is None
    assert [ledger.read(name).held_bytes for name in (scope, vfolder)] == [200, 200]
    assert ledger.settle([scope, vfolder], "x", 150) == [150, 250]
    assert ledger.settle([scope, vfolder], "x", 150) == [150, 250], "once"


def test_accounts_without_a_figure_are_named(ledger: QuotaLedger, scope: str) -> None:
    vfolder = f"{scope}/{uuid4().hex}"
    accounts = at_most(scope, vfolder)
    assert ledger.reserve(accounts, "x", 900).uncounted == (accounts[1],)
    assert ledger.settle([scope, vfolder], "x", 900) == [900, None]
    ledger.record_count(vfolder, 50, 0)
    assert ledger.read(vfolder).used_bytes == 950, "what was settled meanwhile is in the figure"


def test_writers_of_many_vfolders_never_pass_the_limit_of_their_scope(
    ledger: QuotaLedger, scope: str
) -> None:
    vfolders = [account(ledger, f"{scope}/{uuid4().hex}", 0) for _ in range(5)]
    fits = [
        ledger.reserve(at_most(scope, name), f"writer-{name}", 300).full is None
        for name in vfolders
    ]
    assert fits == [True, True, True, False, False]


# -- Totals ----------------------------------------------------------------------------------------
def test_a_total_limits_the_sum_over_volumes(
    client: Redis, ledger: QuotaLedger, scope: str
) -> None:
    other, third = QuotaLedger(client, "other"), QuotaLedger(client, "third")
    other.record_count(scope, 500, 0)
    third.record_count(scope, 0, 0)
    volumes = ("other", "third")
    total = Total(1000, scope, volumes)
    accounts = [Account(scope, None, scope)]
    assert ledger.reserve(accounts, "a", 400, total).full is None
    assert third.reserve(accounts, "c", 60, Total(1000, scope, ("other", VOLUME))).full is None
    refused = ledger.reserve(accounts, "b", 41, total)
    assert (refused.full, refused.others_bytes) == (total, 960)
    assert refused.as_of is not None
    assert ledger.reserve(accounts, "a", 440, total).full is None, "in place of its own 400"
    assert ledger.settle([scope], "a", 440) == [440]
    found = ledger.read_total(scope, [VOLUME, *volumes])
    assert (found.settled_bytes, found.held_bytes, found.used_bytes) == (940, 60, 1000)
    assert found.as_of is not None
    nearer = [Account(scope, 450, scope)]
    refused = ledger.reserve(nearer, "d", 20, Total(2000, scope, volumes))
    assert refused.full == nearer[0], "the least room decides"


def test_a_total_with_an_uncounted_volume_is_unknown(
    client: Redis, ledger: QuotaLedger, scope: str
) -> None:
    other = QuotaLedger(client, "other")
    accounts, total = [Account(scope, None, scope)], Total(1000, scope, ("other",))
    assert ledger.read_total(scope, [VOLUME, "other"]).used_bytes is None
    other.reserve(accounts, "x", 700)
    assert ledger.reserve(accounts, "a", 301, total).full == total, "what is known counts"
    assert ledger.reserve(accounts, "a", 300, total).full is None


def test_total_limits_are_read_once_in_five_seconds(client: Redis) -> None:
    now, subject = 0.0, uuid4().hex
    here, there = TotalLimits(client, lambda: now), TotalLimits(client)
    assert here.limit(subject) is None
    there.set({subject: 5}, ["a"])
    assert there.limit(subject) == 5, "the process that sets it knows it"
    now = CHECK_SECONDS - 0.1
    assert here.limit(subject) is None
    now = CHECK_SECONDS
    assert here.limit(subject) == 5
    assert "a" in here.volumes()
    newer = uuid4().hex
    here.include(newer)
    assert newer in here.volumes()
    assert newer in TotalLimits(client).volumes()
    there.set({subject: None}, ["a"])
    assert there.limit(subject) is None
