"""Connections to one array, and the login on them: one of each per process, shared by its threads.

Both are made on first use and again after a fork: a TLS connection or a login that two processes
share would break both. When a login expires, the thread that notices first renews it; the others
wait and use what it got.
"""

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from time import monotonic

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import InsecureRequestWarning

from backends.rest import deadline
from backends.rest.answers import ArrayRefused, Busy
from core.errors import ConfigurationError, DeadlineExceeded
from core.telemetry import logger

#: Requests to one array at a time, of one process.
IN_FLIGHT_MAX = 8
#: A login that was refused is not tried again for so long: some arrays lock the account.
REFUSAL_RESTS_SECONDS = 30.0

_log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayEndpoint:
    """Where an array answers, and how it is trusted."""

    #: `https://host[:port]`; where there are several, all serve the same array.
    endpoints: tuple[str, ...]
    #: A file with the authority that signed the array's certificate; None trusts the system's.
    ca_bundle: str | None = None
    verify_tls: bool = True

    def __post_init__(self) -> None:
        if not self.endpoints or not all(e.startswith("https://") for e in self.endpoints):
            raise ConfigurationError("An array's endpoint is a URL that starts with https://.")
        if any("@" in endpoint for endpoint in self.endpoints):
            raise ConfigurationError("An array's endpoint has no user or password in it.")


@dataclass(frozen=True, slots=True)
class Login:
    """The headers that say who we are, and from which login on they count."""

    number: int
    headers: Mapping[str, str] = field(repr=False)


@dataclass
class _SessionState:
    """What a fork must not share."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    slots: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(IN_FLIGHT_MAX),
    )
    first: threading.Lock = field(default_factory=threading.Lock)
    made: requests.Session | None = None
    login: Login | None = None
    number: int = 0
    refusal: tuple[float, ArrayRefused] | None = None

    def session(self, target: ArrayEndpoint) -> requests.Session:
        """The session, made by whoever comes first."""
        with self.first:
            self.made = self.made or _new_session(target)
            return self.made


class Sessions:
    """The session and the login of this process.

    `sign_in` does the vendor's login and returns the headers; it may use what it got last time
    (a refresh token), and is never called by two threads at a time.
    """

    def __init__(self, target: ArrayEndpoint, sign_in: Callable[[], Mapping[str, str]]) -> None:
        self.target = target
        self._sign_in = sign_in
        self._state = _SessionState()
        forget = weakref.WeakMethod(self._forget)
        os.register_at_fork(after_in_child=lambda: (act := forget()) and act())

    def login(self) -> Login:
        """The login that counts now; makes the first one.

        Raises:
            ArrayRefused: the array does not know us; asked again only after a while.
            DeadlineExceeded, Lost, Busy: no answer to that in time.
        """
        return self._state.login or self.renew(0)

    def renew(self, number: int) -> Login:
        """A login younger than the one of that number; one thread asks for it, the others wait.

        Raises:
            As `login`.
        """
        state = self._state
        if not state.lock.acquire(timeout=deadline.left()):
            raise DeadlineExceeded("The array did not log us in in time.")
        try:
            if state.login is None or state.login.number <= number:
                state.login = self._ask(state)
            return state.login
        finally:
            state.lock.release()

    def _ask(self, state: _SessionState) -> Login:
        if state.refusal and monotonic() - state.refusal[0] < REFUSAL_RESTS_SECONDS:
            raise state.refusal[1].anew()
        try:
            headers = self._sign_in()
        except ArrayRefused as refusal:
            state.refusal = (monotonic(), refusal)
            raise
        state.refusal = None
        state.number += 1
        return Login(state.number, headers)

    @contextmanager
    def session(self) -> Iterator[requests.Session]:
        """The session, for one request; waits while too many are under way.

        Raises:
            Busy: our own requests are in the way until the end.
        """
        state = self._state
        if not state.slots.acquire(timeout=deadline.left()):
            raise Busy("Too many requests to this array are under way.")
        try:
            yield state.session(self.target)
        finally:
            state.slots.release()

    def close(self) -> Login | None:
        """Let go of the connections; the login that is to be ended at the array."""
        state, self._state = self._state, _SessionState()
        if state.made:
            state.made.close()
        return state.login

    def _forget(self) -> None:
        """In a child: the parent's connections and login are the parent's."""
        self._state = _SessionState()


def _new_session(target: ArrayEndpoint) -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # neither ~/.netrc nor proxies of the environment get our secrets
    session.verify = (target.ca_bundle or True) if target.verify_tls else False
    if not target.verify_tls:
        urllib3.disable_warnings(InsecureRequestWarning)  # said once, here
        _log.warning("certificates ignored", endpoints=target.endpoints)
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = HTTPAdapter(pool_maxsize=IN_FLIGHT_MAX, max_retries=0)
    session.mount("https://", adapter)
    return session
