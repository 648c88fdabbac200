"""The queue of notices that wait to be posted, in Redis beside the notices.

    vf:webhook               hash        id of a notice -> what it says, a JSON document
    vf:webhook-of:<subject>  list        ids of a subject's notices, the oldest first
    vf:webhook-due           sorted set  subject, by when its oldest notice is posted next (ms)
    vf:webhook-tries         hash        subject -> failed posts of its oldest notice

The step that keeps a notice puts it here, too. Who takes a notice moves the time of its subject on:
others leave the subject alone until then. So the notices of a subject are posted one after the
other, and one whose sender died is posted again.
"""

from typing import NamedTuple

import redis

from core.jobs.store import PREFIX

#: Most notices that wait; further ones are in the lists of their readers alone.
WAITING_MAX = 10_000
_TEXTS, _DUE, _TRIES = f"{PREFIX}webhook", f"{PREFIX}webhook-due", f"{PREFIX}webhook-tries"
_LISTS = f"{PREFIX}webhook-of:"

#: Lua: `push(base, subject, name, text)` with the keys of `push_keys` after `base`; false: full.
PUSH = f"""
local function now() local t = redis.call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000) end
local function push(base, subject, name, text)
  if redis.call('HLEN', KEYS[base + 1]) >= {WAITING_MAX} then return false end
  redis.call('HSET', KEYS[base + 1], name, text)
  redis.call('ZADD', KEYS[base + 2], 'NX', now(), subject)
  redis.call('RPUSH', KEYS[base + 3], name)
  return true
end
"""
#: KEYS: due, tries, texts. ARGV: prefix of the lists, time until others may take it (ms).
_TAKE = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local subject = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)[1]
if not subject then return {} end
redis.call('ZADD', KEYS[1], now + ARGV[2], subject)
local name = redis.call('LINDEX', ARGV[1] .. subject, 0)
local text, tries = redis.call('HGET', KEYS[3], name), redis.call('HGET', KEYS[2], subject)
return {subject, name, text, tries or '0'}
"""
#: KEYS: due, tries, texts, list. ARGV: subject, name, pause (ms); '' for the end of the notice.
_LEAVE = """
if redis.call('LINDEX', KEYS[4], 0) ~= ARGV[2] then return 0 end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if ARGV[3] ~= '' then
  redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
  redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
  return 1
end
redis.call('LPOP', KEYS[4])
redis.call('HDEL', KEYS[3], ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[1])
if redis.call('LLEN', KEYS[4]) == 0 then redis.call('ZREM', KEYS[1], ARGV[1])
else redis.call('ZADD', KEYS[1], now, ARGV[1]) end
return 1
"""


class WaitingNotice(NamedTuple):
    """A notice that is posted now: whose it is, its id, what it says, and how often it failed."""

    subject: str
    id: str
    text: str
    failures: int


def push_keys(subject: str) -> list[str]:
    """Return the keys that `PUSH` needs."""
    return [_TEXTS, _DUE, _LISTS + subject]


class WebhookQueue:
    """The queue of the cluster. Safe for threads; methods raise `redis.RedisError`."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis = client
        self._take = client.register_script(_TAKE)
        self._leave = client.register_script(_LEAVE)

    def take(self, seconds: float) -> WaitingNotice | None:
        """Return a notice that is due; others leave its subject alone for `seconds`."""
        keys = [_DUE, _TRIES, _TEXTS]
        found = self._take(keys=keys, args=[_LISTS, round(seconds * 1000)])
        return WaitingNotice(found[0], found[1], found[2], int(found[3])) if found else None

    def end(self, notice: WaitingNotice) -> bool:
        """Remove a notice; False when it was removed before."""
        return self._left(notice, "")

    def postpone(self, notice: WaitingNotice, seconds: float) -> bool:
        """Let a notice, and those of its subject, wait; False when it was removed before."""
        return self._left(notice, round(seconds * 1000))

    def _left(self, notice: WaitingNotice, pause: int | str) -> bool:
        keys = [_DUE, _TRIES, _TEXTS, _LISTS + notice.subject]
        return bool(self._leave(keys=keys, args=[notice.subject, notice.id, pause]))

    def __len__(self) -> int:
        """Return how many notices wait."""
        return self._redis.hlen(_TEXTS)
