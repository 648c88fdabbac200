"""The HTTP client of the array backends: one session per process, one login, safe retries.

    api = Client(target, login, dialect)
    with deadline.within(60):
        volume = api.get("/api/storage/volumes", name="v1")
        api.create("/api/storage/qtrees", body, look=find_it)

* `client`: sends requests until the deadline. A request that creates something is sent again only
  after a check whether the lost one had its effect.
* `sessions`: connections and the login, made again after a fork. When a login expires, one thread
  renews it for all.
* `credentials`: the ways to log in that several vendors share.
* `shared`: one connection for all volumes of one array.
* `answers`: an array's answer, and every error it can be.
* `deadline`: one end for everything that a call does.
* `jobs`: waits for asynchronous jobs of an array.

Knows no array of a vendor, no volume and no job record.
"""

from backends.mounted.rest import deadline, jobs
from backends.mounted.rest.answers import (
    ArrayAnswer,
    ArrayRefusal,
    ArrayRefused,
    Busy,
    Expired,
    Lost,
    Reason,
    body_as,
)
from backends.mounted.rest.client import ArrayRequest, Client, unknown
from backends.mounted.rest.credentials import (
    TokenLogin,
    Tokens,
    basic_login,
    basic_token,
    checked_login,
    end_session,
)
from backends.mounted.rest.options import ArrayOptions, options_of
from backends.mounted.rest.sessions import ArrayEndpoint
from backends.mounted.rest.shared import shared

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
    "TokenLogin",
    "Tokens",
    "basic_login",
    "basic_token",
    "body_as",
    "checked_login",
    "deadline",
    "end_session",
    "jobs",
    "options_of",
    "shared",
    "unknown",
]
