"""The ledger in Redis: usage where the storage system does not count.

An account is that of a quota scope, or of one vfolder with a limit (`<scope>/<vfolder>`).

    vf:quota:<volume>:<scope>      hash  used, grown (bytes), as_of (ms)
    vf:holds:<volume>:<scope>      hash  holder -> '<bytes> <end ms>': reserved, not settled yet
    vf:holds-ends:<volume>:<scope> sorted set  holder, by the end of its reservation (ms)
    vf:holds-sum:<volume>:<scope>  the sum of all reservations (bytes)
    vf:quota-once:<token>          the mark of a holder whose change was settled
    vf:quota-scopes:<volume>       set  the scopes that have a figure

A holder (an upload, a job) reserves space before it writes, and settles when it publishes. Each is
one script over all its accounts, so that several writers never pass a limit together. What other
programs write into the tree is unknown here until the next count. The usage of an account that was
never counted is unknown, not zero.

A holder settles one change: what repeats it changes nothing. A process that died, or whose answer
was lost, settles again.

A count that runs beside writers may have seen what they settle after it. What they added is then
counted twice; what they removed is not subtracted again. So a figure may be too high until the next
count, and is never too low.

The cost of a script does not depend on the number of holders. Versions up to 0.1.0 write only the
hash of holders: when its length differs from the sorted set's, a script makes set and sum again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import redis

from core.jobs.store import PREFIX
from core.names import moment_of_ms

#: A reservation of a silent holder expires after this long: as long as an upload is kept.
HOLD_SECONDS = 86_400
#: The mark of a settlement is kept this long.
ONCE_SECONDS = 7 * 86_400
#: Expired reservations that one script removes, so that it takes less than 2 ms.
EXPIRED_MAX = 200
#: Scopes per step while the index of scopes is read.
_STEP = 1000

#: Every script takes four keys of each account: figures, holders, their ends, their sum. `base` is
#: the number of keys before those of the account that the functions are about.
_PRELUDE = """
local EXPIRED_MAX = %d
local base = 0
local function key(number) return KEYS[base + number] end
local function now() local t = redis.call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000) end
local function text(number) return string.format('%%.0f', number) end
local function parts(value)
  local size, ends = value:match('^(%%d+) (%%d+)$')
  return tonumber(size), tonumber(ends)
end
local function size_of(holder)
  local value = redis.call('HGET', key(2), holder)
  return value and parts(value) or 0
end
local function sum() return tonumber(redis.call('GET', key(4)) or '0') end
local function set_sum(number)
  if redis.call('HLEN', key(2)) == 0 then redis.call('DEL', key(4))
  else redis.call('SET', key(4), text(math.max(0, number))) end
end
local function drop(holder)
  local rest = sum() - size_of(holder)
  if redis.call('HDEL', key(2), holder) + redis.call('ZREM', key(3), holder) > 0 then
    set_sum(rest)
  end
end
local function rebuild()
  local all, total = redis.call('HGETALL', key(2)), 0
  redis.call('DEL', key(3))
  for i = 1, #all, 2 do
    local size, ends = parts(all[i + 1])
    redis.call('ZADD', key(3), ends, all[i])
    total = total + size
  end
  set_sum(total)
end
-- Returns whether reservations that have expired may be left.
local function expire()
  if redis.call('HLEN', key(2)) ~= redis.call('ZCARD', key(3)) then rebuild() end
  local over = redis.call('ZRANGEBYSCORE', key(3), '-inf', '(' .. text(now()),
    'LIMIT', 0, EXPIRED_MAX)
  local rest = sum()
  for _, holder in ipairs(over) do
    rest = rest - size_of(holder)
    redis.call('HDEL', key(2), holder)
    redis.call('ZREM', key(3), holder)
  end
  if #over > 0 then set_sum(rest) end
  return #over == EXPIRED_MAX
end
""" % (EXPIRED_MAX,)  # noqa: UP031 - Lua has braces
#: The keys of the accounts are followed by those of the same scope on other volumes. A total limits
#: their sum with the first account.
#: ARGV: holder, size, lifetime (ms), number of accounts, total or '', limit or '' of each account.
#: Nothing is reserved unless it fits everywhere. What has the least room is named, by the number of
#: its account; a total has the number above all.
_RESERVE = (
    _PRELUDE
    + """
local size, count, total = tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
local others, uncounted, again, held, oldest = {}, {}, false, 0, nil
local least, full
local function compare(account, used, limit, as_of)
  if limit and used + size > limit and (not least or limit - used < least) then
    least, full = limit - used, {'full', text(account - 1), text(used), as_of}
  end
end
for account = 1, #KEYS / 4 do
  base = (account - 1) * 4
  if expire() then again = true end
  local used, as_of = redis.call('HGET', key(1), 'used'), redis.call('HGET', key(1), 'as_of') or ''
  others[account] = sum() - (account <= count and size_of(ARGV[1]) or 0)
  local known = (tonumber(used) or 0) + others[account]
  if account == 1 or account > count then
    held = held + known
    if not oldest or as_of == '' or (oldest ~= '' and tonumber(as_of) < tonumber(oldest)) then
      oldest = as_of
    end
  end
  if account <= count then
    if used then compare(account, known, tonumber(ARGV[5 + account]), as_of)
    else uncounted[#uncounted + 1] = text(account - 1) end
  end
end
compare(count + 1, held, total, oldest)
if full then
  if again then return {'again', '', '', ''} end
  return full
end
local ends = text(now() + tonumber(ARGV[3]))
for account = 1, count do
  base = (account - 1) * 4
  redis.call('HSET', key(2), ARGV[1], ARGV[2] .. ' ' .. ends)
  redis.call('ZADD', key(3), ends, ARGV[1])
  set_sum(others[account] + size)
end
return {'held', table.concat(uncounted, ' '), '', ''}
"""
)
#: The keys of all accounts are followed by one mark for each.
#: ARGV: holder, change, lifetime of a mark (s), as reserved, since (ms).
_SETTLE = (
    _PRELUDE
    + """
local count, answers = #KEYS / 5, {}
for account = 1, count do
  base = (account - 1) * 4
  expire()
  local change = tonumber(ARGV[2])
  -- A count that ended since the removal began may have seen it.
  local since, as_of = tonumber(ARGV[5]), tonumber(redis.call('HGET', key(1), 'as_of') or '0')
  if change < 0 and since and as_of >= since then change = 0 end
  if ARGV[4] ~= '' and redis.call('HEXISTS', key(2), ARGV[1]) == 1 then
    change = size_of(ARGV[1])
  end
  drop(ARGV[1])
  local used = redis.call('HGET', key(1), 'used')
  local mark = KEYS[count * 4 + account]
  if change ~= 0 and redis.call('SET', mark, '1', 'NX', 'EX', ARGV[3]) then
    if used then
      used = math.max(0, tonumber(used) + change)
      redis.call('HSET', key(1), 'used', text(used))
    end
    if change > 0 then redis.call('HINCRBYFLOAT', key(1), 'grown', text(change)) end
  end
  answers[account] = used and text(tonumber(used) + sum()) or ''
end
return answers
"""
)
_COUNTED = (
    _PRELUDE
    + """
local grown = tonumber(redis.call('HGET', KEYS[1], 'grown') or '0') - tonumber(ARGV[2])
local used = tonumber(ARGV[1]) + math.max(0, grown)
local before = redis.call('HGET', KEYS[1], 'used') or ''
redis.call('HSET', KEYS[1], 'used', text(used), 'as_of', text(now()))
redis.call('SADD', KEYS[5], ARGV[3])
return before
"""
)
_READ = (
    _PRELUDE
    + """
expire()
return {redis.call('HGET', KEYS[1], 'used') or '', text(sum()),
        redis.call('HGET', KEYS[1], 'as_of') or ''}
"""
)


@dataclass(frozen=True, slots=True)
class Balance:
    """Usage of a scope: settled, reserved, and the time of the last count; None is unknown."""

    settled_bytes: int | None
    held_bytes: int
    as_of: str | None

    @property
    def used_bytes(self) -> int | None:
        """Return the sum of settled and reserved bytes; None when unknown."""
        return None if self.settled_bytes is None else self.settled_bytes + self.held_bytes


@dataclass(frozen=True, slots=True)
class Account:
    """What a limit is of, in the ledger of its volume: a quota scope, or one vfolder."""

    #: The directory of a scope; of a vfolder also its id: `<scope>/<id>`.
    name: str
    #: None: it is kept for a total alone.
    limit_bytes: int | None
    #: Whose account it is, for thresholds: the id of a user or group as 32 digits.
    owner: str

    @property
    def view(self) -> str:
        """Return `scope`, or `vfolder`."""
        return "vfolder" if "/" in self.name else "scope"


@dataclass(frozen=True, slots=True)
class Total:
    """A limit over all volumes: of the scope that is the first account, with that elsewhere."""

    limit_bytes: int
    #: The directory of the scope, which is the id of its user or group.
    scope: str
    #: The other volumes.
    volumes: tuple[str, ...]
    view: ClassVar[str] = "total"


@dataclass(frozen=True, slots=True)
class Reservation:
    """The answer to a request for space."""

    #: The account that has no room, and what it holds; None when the space was reserved.
    full: Account | Total | None = None
    others_bytes: int | None = None
    as_of: str | None = None
    #: The accounts that were never counted: they accept every reservation.
    uncounted: tuple[Account, ...] = ()


class QuotaLedger:
    """The ledger of one volume. Safe for threads; methods raise `redis.RedisError`.

    `scope` is the name of a scope's directory, which does not depend on its kind. Each method may
    run twice.
    """

    def __init__(self, client: "redis.Redis", volume: str) -> None:
        self._redis = client
        self.volume = volume
        self._reserve = client.register_script(_RESERVE)
        self._settle = client.register_script(_SETTLE)
        self._counted = client.register_script(_COUNTED)
        self._read = client.register_script(_READ)
        self._index = f"{PREFIX}quota-scopes:{volume}"

    def reserve(
        self,
        accounts: Sequence[Account],
        holder: str,
        size_bytes: int,
        total: Total | None = None,
    ) -> Reservation:
        """Reserve bytes for a holder in each account, or in none.

        They are in place of its former reservation, which stays if refused. Costs one round trip.
        """
        limits = [_or_empty(account.limit_bytes) for account in accounts]
        most = "" if total is None else total.limit_bytes
        terms = [HOLD_SECONDS * 1000, len(accounts), most]
        args: list[str | int] = [holder, max(0, size_bytes), *terms, *limits]
        keys = [key for account in accounts for key in self._keys(account.name)]
        if total is not None:
            keys += [key for name in total.volumes for key in _keys_of(name, total.scope)]
        answer, text, used, as_of = "again", "", "", ""
        while answer == "again":  # many reservations expired at once
            answer, text, used, as_of = self._reserve(keys=keys, args=args)
        if answer == "full":
            full = accounts[int(text)] if int(text) < len(accounts) else total
            return Reservation(full, int(used), moment_of_ms(as_of))
        return Reservation(uncounted=tuple(accounts[int(number)] for number in text.split()))

    def settle(
        self,
        names: Sequence[str],
        holder: str,
        change_bytes: int = 0,
        *,
        as_reserved: bool = False,
        since_ms: int | None = None,
    ) -> list[int | None]:
        """End a reservation, and add what each account gained or lost; return their usage.

        Repeated calls for this holder make the change only once. With `as_reserved` an account
        gained what is reserved; `change_bytes` counts where the reservation has ended. With
        `since_ms`, a loss is not subtracted when a count ended since that time of the store. Costs
        one round trip.
        """
        since = "" if since_ms is None else since_ms
        terms = ["1" if as_reserved else "", since]
        args: list[str | int] = [holder, change_bytes, ONCE_SECONDS, *terms]
        keys = [key for name in names for key in self._keys(name)]
        keys += [self._token(name, holder) for name in names]
        answers = cast("list[str]", self._settle(keys=keys, args=args))
        return [int(used) if used else None for used in answers]

    def clock_ms(self) -> int:
        """Return the time of the store in milliseconds; take it before a removal begins."""
        seconds, micros = self._redis.time()
        return seconds * 1000 + micros // 1000

    def read(self, scope: str) -> Balance:
        """Return the usage of a scope."""
        used, held, as_of = self._read(keys=self._keys(scope))
        return Balance(int(used) if used else None, int(held), moment_of_ms(as_of))

    def read_total(self, scope: str, volumes: Iterable[str]) -> Balance:
        """Return the sum of a scope over volumes; unknown where one of them was never counted.

        `as_of` is that of the oldest count. Costs one round trip.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            for volume in sorted(volumes):
                figures, _, _, held = _keys_of(volume, scope)
                pipe.hmget(figures, "used", "as_of")
                pipe.get(held)
            answers = pipe.execute()
        counts: list[tuple[str | None, str | None]] = answers[::2]
        held_bytes = sum(int(text or 0) for text in answers[1::2])
        known = [int(used) for used, _ in counts if used]
        if not counts or len(known) < len(counts):
            return Balance(None, held_bytes, None)
        oldest = min((int(as_of) for _, as_of in counts if as_of), default=None)
        return Balance(sum(known), held_bytes, moment_of_ms(oldest))

    def holders(self, scope: str) -> list[str]:
        """Return the ids of the uploads and jobs that reserve space of a scope."""
        return cast("list[str]", self._redis.hkeys(self._keys(scope)[1]))

    def growth_mark(self, scope: str) -> int:
        """Return the mark for `record_count`; take it before a count begins."""
        return int(float(cast("str | None", self._redis.hget(self._keys(scope)[0], "grown")) or 0))

    def record_count(self, scope: str, used_bytes: int, growth: int) -> int | None:
        """Store the result of a count; return the former figure.

        What was settled since the mark `growth` is added, because the count may have missed it. A
        figure that is too high for a while lets no writer pass a limit.
        """
        keys = [*self._keys(scope), self._index]
        args: list[str | int] = [used_bytes, growth, scope]
        before: Any = self._counted(keys=keys, args=args)
        return int(before) if before else None

    def forget(self, scope: str) -> None:
        """Drop the figures and reservations of a scope without limit or of a deleted scope."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(*self._keys(scope))
            pipe.srem(self._index, scope)
            pipe.execute()

    def scopes(self) -> list[str]:
        """Return the scopes that have a figure.

        The first call on a store of an earlier version costs a scan of all its keys.
        """
        whole = f"{self._index}:whole"
        if not self._redis.exists(whole):
            start = f"{PREFIX}quota:{self.volume}:"
            for key in self._redis.scan_iter(f"{start}*", count=_STEP):
                self._redis.sadd(self._index, str(key).removeprefix(start))
            self._redis.set(whole, "1")
        return sorted(str(name) for name in self._redis.sscan_iter(self._index, count=_STEP))

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._redis.close()

    def _keys(self, scope: str) -> list[str]:
        return _keys_of(self.volume, scope)

    def _token(self, scope: str, holder: str) -> str:
        return f"{PREFIX}quota-once:{self.volume}:{scope}:{holder}"


def _keys_of(volume: str, name: str) -> list[str]:
    kinds = ("quota", "holds", "holds-ends", "holds-sum")
    return [f"{PREFIX}{kind}:{volume}:{name}" for kind in kinds]


def figures_keys(volume: str, name: str) -> tuple[str, str]:
    """Return the keys of the figures of an account, and of the sum of its reservations."""
    figures, _, _, held = _keys_of(volume, name)
    return figures, held


def _or_empty(number: int | None) -> int | str:
    return "" if number is None else number
