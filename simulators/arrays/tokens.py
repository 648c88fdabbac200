"""Logins by two kinds of tokens: one that is sent with each request, and one that renews it."""

import secrets
import time
from abc import ABC

from simulators.serving import Simulator


class TokenSimulator(Simulator, ABC):
    """An array whose access tokens live for seconds, and whose refresh tokens give new ones."""

    def __init__(self) -> None:
        super().__init__()
        self._access: dict[str, float] = {}
        self._refresh: set[str] = set()

    @property
    def tokens(self) -> list[str]:
        """Every token that was given."""
        return [*self._access, *self._refresh]

    def expire(self) -> None:
        with self.lock:
            self._access.clear()

    def forget_refreshes(self) -> None:
        with self.lock:
            self._refresh.clear()

    def _new_access(self, seconds: float) -> str:
        """Give an access token that lives so long."""
        token = secrets.token_hex(32)
        self._access[token] = time.monotonic() + seconds
        return token

    def _new_refresh(self) -> str:
        token = secrets.token_hex(32)
        self._refresh.add(token)
        return token

    def _admits(self, token: str) -> bool:
        return self._access.get(token, 0.0) > time.monotonic()
