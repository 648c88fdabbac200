"""What drivers of arrays share: one session per process, one login for all threads, safe retries.

    api = Client(target, login, dialect)
    with deadline.within(60):
        volume = api.get("/api/storage/volumes", name="v1")
        api.create("/api/storage/qtrees", body, look=find_it)

* `client`: one exchange after another until the deadline; a request that makes something is sent
  again only after a look whether the lost one had its effect.
* `sessions`: connections and the login, made anew after a fork; when a login expires, one thread
  renews it for all.
* `answers`: an array's answer, and what can be wrong with it.
* `deadline`: one end for everything a call does.
* `jobs`: waiting for what an array does later.
"""

from backends.rest import deadline, jobs
from backends.rest.answers import (
    ArrayAnswer,
    ArrayRefusal,
    ArrayRefused,
    Busy,
    Expired,
    Lost,
    Reason,
)
from backends.rest.client import ArrayRequest, Client, unknown
from backends.rest.options import ArrayOptions, options_of
from backends.rest.sessions import ArrayEndpoint

__all__ = [
    "ArrayAnswer",
    "ArrayEndpoint",
    "ArrayOptions",
    "ArrayRefusal",
    "ArrayRefused",
    "ArrayRequest",
    "Busy",
    "Client",
    "Expired",
    "Lost",
    "Reason",
    "deadline",
    "jobs",
    "options_of",
    "unknown",
]
