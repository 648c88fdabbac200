"""The ledger in Redis: usage of quota scopes where the storage system does not count.

    vf:quota:<volume>:<scope>   hash  used, grown (bytes), as_of (ms)
    vf:holds:<volume>:<scope>   hash  holder -> '<bytes> <end ms>': reserved, not settled yet
    vf:quota-once:<token>       the mark of a settlement that is made only once

A holder (an upload, a job) reserves space before it writes, and settles when it publishes. Each is
one script, so that several writers never pass a limit together. What other programs write into the
tree is unknown here until the next count. The usage of a scope that was never counted is unknown,
not zero.
"""

from dataclasses import dataclass
from typing import Any, cast

import redis

from core.jobs.store import PREFIX
from core.names import moment_of_ms

#: A reservation of a silent holder expires after this long: as long as an upload is kept.
HOLD_SECONDS = 86_400
#: The mark of a settlement is kept this long.
ONCE_SECONDS = 7 * 86_400

_HELD = """
local function now() local t = redis.call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000) end
local function held(but)
  local sum, at = 0, now()
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    local size, ends = all[i + 1]:match('^(%d+) (%d+)$')
    if tonumber(ends) < at then redis.call('HDEL', KEYS[2], all[i])
    elseif all[i] ~= but then sum = sum + tonumber(size) end
  end
  return sum
end
local function text(number) return string.format('%.0f', number) end
"""
_RESERVE = (
    _HELD
    + """
local used = redis.call('HGET', KEYS[1], 'used')
local others = held(ARGV[1])
if used and tonumber(used) + others + tonumber(ARGV[2]) > tonumber(ARGV[3]) then
  return {'full', text(tonumber(used) + others)}
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. ' ' .. text(now() + tonumber(ARGV[4])))
return {used and 'held' or 'unknown', ''}
"""
)
_SETTLE = (
    _HELD
    + """
redis.call('HDEL', KEYS[2], ARGV[1])
local used = redis.call('HGET', KEYS[1], 'used')
local change = tonumber(ARGV[2])
local function first()
  return ARGV[3] == '' or redis.call('SET', KEYS[3], '1', 'NX', 'EX', ARGV[4])
end
if used and change ~= 0 and first() then
  used = math.max(0, tonumber(used) + change)
  redis.call('HSET', KEYS[1], 'used', text(used))
  if change > 0 then redis.call('HINCRBYFLOAT', KEYS[1], 'grown', ARGV[2]) end
end
if not used then return '' end
return text(tonumber(used) + held(''))
"""
)
_COUNTED = (
    _HELD
    + """
local grown = tonumber(redis.call('HGET', KEYS[1], 'grown') or '0') - tonumber(ARGV[2])
local used = tonumber(ARGV[1]) + math.max(0, grown)
local before = redis.call('HGET', KEYS[1], 'used') or ''
redis.call('HSET', KEYS[1], 'used', text(used), 'as_of', text(now()))
return before
"""
)
_READ = (
    _HELD
    + """
return {redis.call('HGET', KEYS[1], 'used') or '', text(held('')),
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


class QuotaLedger:
    """The ledger of one volume. Safe for threads; methods raise `redis.RedisError`.

    `scope` is the name of a scope's directory, which does not depend on its kind.
    """

    def __init__(self, client: "redis.Redis", volume: str) -> None:
        self._redis = client
        self.volume = volume
        self._reserve = client.register_script(_RESERVE)
        self._settle = client.register_script(_SETTLE)
        self._counted = client.register_script(_COUNTED)
        self._read = client.register_script(_READ)

    def reserve(self, scope: str, holder: str, size_bytes: int, limit_bytes: int) -> int | None:
        """Reserve bytes for a holder, in place of its former reservation; None on success.

        When the limit would be passed, return the bytes that the others hold. A scope that was
        never counted accepts every reservation.
        """
        args: list[str | int] = [holder, size_bytes, limit_bytes, HOLD_SECONDS * 1000]
        answer, used = self._reserve(keys=self._keys(scope), args=args)
        return int(used) if answer == "full" else None

    def settle(
        self, scope: str, holder: str, change_bytes: int = 0, *, once: bool = False
    ) -> int | None:
        """End a reservation, and add what the scope gained or lost; return its usage, if known.

        With `once`, repeated calls for this holder make the change only once.
        """
        args: list[str | int] = [holder, change_bytes, "once" if once else "", ONCE_SECONDS]
        used: str = self._settle(keys=[*self._keys(scope), self._token(scope, holder)], args=args)
        return int(used) if used else None

    def read(self, scope: str) -> Balance:
        """Return the usage of a scope."""
        used, held, as_of = self._read(keys=self._keys(scope))
        return Balance(int(used) if used else None, int(held), moment_of_ms(as_of))

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
        before: Any = self._counted(keys=self._keys(scope), args=[used_bytes, growth])
        return int(before) if before else None

    def forget(self, scope: str) -> None:
        """Drop the figures and reservations of a scope without limit or of a deleted scope."""
        self._redis.delete(*self._keys(scope))

    def scopes(self) -> list[str]:
        """Return the scopes that have a figure; costs a scan of all keys."""
        start = f"{PREFIX}quota:{self.volume}:"
        return sorted(str(key).removeprefix(start) for key in self._redis.scan_iter(f"{start}*"))

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._redis.close()

    def _keys(self, scope: str) -> list[str]:
        return [f"{PREFIX}{kind}:{self.volume}:{scope}" for kind in ("quota", "holds")]

    def _token(self, scope: str, holder: str) -> str:
        return f"{PREFIX}quota-once:{self.volume}:{scope}:{holder}"
