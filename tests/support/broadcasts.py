"""Subscribers of the bus (Redis publish/subscribe), which keeps nothing for late subscribers."""

from redis import Redis
from redis.client import PubSub

from tests.support.node import wait_for

LOOK_SECONDS = 1.0


def subscribed(client: "Redis", name: str) -> PubSub:
    """Return a confirmed subscriber, which receives all later messages. The caller closes it."""
    channel = client.pubsub()
    channel.subscribe(name)

    def confirmed() -> bool:
        message = channel.get_message(timeout=LOOK_SECONDS)
        return message is not None and message["type"] == "subscribe"

    wait_for(confirmed, failure=f"the server does not confirm the subscription of {name}")
    channel.ignore_subscribe_messages = True
    return channel
