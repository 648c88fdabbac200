"""Subscribers of the bus (Redis publish/subscribe), which keeps nothing for those who come late."""

from redis import Redis
from redis.client import PubSub

from tests.support.node import wait_for

LOOK_SECONDS = 1.0


def subscribed(client: "Redis", name: str) -> PubSub:
    """A subscriber whom the server has: it hears all that is said from now on. Close it."""
    channel = client.pubsub()
    channel.subscribe(name)

    def confirmed() -> bool:
        message = channel.get_message(timeout=LOOK_SECONDS)
        return message is not None and message["type"] == "subscribe"

    wait_for(confirmed, failure=f"nobody confirms that {name} is heard")
    channel.ignore_subscribe_messages = True
    return channel
