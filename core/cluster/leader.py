"""Leadership: one node of the cluster does what one is enough for.

    vf:leader     the id of the node; it expires unless the node renews it
    vf:exporter   the same for the node whose /metrics has the gauges of the cluster

The leader delivers ends of jobs, reaps dead leases, looks for lost nodes and forgets nodes that
left. A leader that sleeps may wake beside its successor. That is harmless: every step is one script
that may run twice.
"""

import redis

from core.jobs.store import PREFIX

#: A leader that does not renew for this long is replaced: three beats of a node.
LEADER_SECONDS = 6.0
#: An exporter that is not scraped for this long is replaced: twice a long scrape interval.
EXPORTER_SECONDS = 60.0

_HOLD = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RESIGN = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class Leadership:
    """The election as one node sees it. Methods raise `redis.RedisError`."""

    def __init__(
        self,
        client: "redis.Redis",
        node: str,
        *,
        role: str = "leader",
        seconds: float = LEADER_SECONDS,
    ) -> None:
        self._key = PREFIX + role
        self._node = node
        self._milliseconds = int(seconds * 1000)
        self._hold = client.register_script(_HOLD)
        self._resign = client.register_script(_RESIGN)

    def hold(self) -> bool:
        """Become the leader, or stay it; return whether this node is the leader."""
        return bool(self._hold(keys=[self._key], args=[self._node, self._milliseconds]))

    def resign(self) -> None:
        """Make place for another node at once."""
        self._resign(keys=[self._key], args=[self._node])
