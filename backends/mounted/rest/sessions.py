"""Connections to one array, and the login on them: one of each per process, shared by its threads.

Both are made on first use and again after a fork: two processes that share a TLS connection or a
login would break it. When a login expires, the first thread that notices renews it. The others
wait and use the new one.
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

from backends.mounted.rest import deadline
from backends.mounted.rest.answers import ArrayRefused, Busy
from core.errors import ConfigurationError, DeadlineExceeded
from core.telemetry import logger

#: Requests of one process to one array at the same time.
IN_FLIGHT_MAX = 8
#: A refused login is not tried again before this time (seconds): some arrays lock the account.
REFUSAL_RESTS_SECONDS = 30.0

_log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayEndpoint:
    """The address of an array, and how its certificate is verified."""

    #: `https://host[:port]`; several addresses serve the same array.
    endpoints: tuple[str, ...]
    #: A file with the CA of the array's certificate; None uses the system's CAs.
    ca_bundle: str | None = None
    verify_tls: bool = True
    #: Files with a certificate that identifies this client, and with its key.
    client_certificate: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        if not self.endpoints or not all(e.startswith("https://") for e in self.endpoints):
            raise ConfigurationError("An array's endpoint is a URL that starts with https://.")
        if any("@" in endpoint for endpoint in self.endpoints):
            raise ConfigurationError("An array's endpoint has no user or password in it.")


@dataclass(frozen=True, slots=True)
class Login:
    """The headers of a login, and the number of that login."""

    number: int
    headers: Mapping[str, str] = field(repr=False)


@dataclass
class _SessionState:
    """The state that processes must not share after a fork."""

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
        """Return the session; the first caller makes it."""
        with self.first:
            self.made = self.made or _new_session(target)
            return self.made


class Sessions:
    """The session and the login of this process.

    `sign_in` does the vendor's login and returns the headers. It may use a refresh token from the
    last login. Two threads never call it at the same time.
    """

    def __init__(self, target: ArrayEndpoint, sign_in: Callable[[], Mapping[str, str]]) -> None:
        self.target = target
        self._sign_in = sign_in
        self._state = _SessionState()
        forget = weakref.WeakMethod(self._forget)
        os.register_at_fork(after_in_child=lambda: (act := forget()) and act())

    def login(self) -> Login:
        """Return the current login; make the first one if there is none.

        Raises:
            ArrayRefused: the array refused the credentials; they are tried again only after a
            pause. DeadlineExceeded, Lost, Busy: no answer in time.
        """
        return self._state.login or self.renew(0)

    def renew(self, number: int) -> Login:
        """Return a newer login than the one of that number.

        One thread requests it, the others wait.

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
            raise state.refusal[1].copied()
        try:
            headers = self._sign_in()
        except ArrayRefused as refusal:
            state.refusal = (monotonic(), refusal)
            state.login = None  # the old one is void too: no other request tries it
            raise
        state.refusal = None
        state.number += 1
        return Login(state.number, headers)

    @contextmanager
    def session(self) -> Iterator[requests.Session]:
        """Lend the session for one request; wait while too many requests run.

        Raises:
            Busy: other requests of this process occupy the array until the deadline.
        """
        state = self._state
        if not state.slots.acquire(timeout=deadline.left()):
            raise Busy("Too many requests to this array are under way.")
        try:
            yield state.session(self.target)
        finally:
            state.slots.release()

    def close(self) -> Login | None:
        """Close the connections; return the login that must be ended at the array."""
        state, self._state = self._state, _SessionState()
        if state.made:
            state.made.close()
        return state.login

    def _forget(self) -> None:
        """Forget, in a child process, the connections and the login of the parent."""
        self._state = _SessionState()


def _new_session(target: ArrayEndpoint) -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # ~/.netrc and proxies of the environment must not get the secrets
    session.verify = (target.ca_bundle or True) if target.verify_tls else False
    session.cert = target.client_certificate
    if not target.verify_tls:
        urllib3.disable_warnings(InsecureRequestWarning)  # set once, for all requests
        _log.warning("certificates ignored", endpoints=target.endpoints)
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = HTTPAdapter(pool_maxsize=IN_FLIGHT_MAX, max_retries=0)
    session.mount("https://", adapter)
    return session
