"""What a journal and the logs must show after whatever was done."""

from dataclasses import dataclass
from typing import Any

import pytest

from simulators.serving import Server

#: Requests of one client at a time.
IN_FLIGHT_MAX = 8
#: Paths that are asked by POST and make nothing that stays.
READING = ("login", "token", "session", "stat_path", "refreshTask")


@dataclass(frozen=True)
class Watch:
    """The logs of a test."""

    lines: list[Any]
    caplog: pytest.LogCaptureFixture

    def holds(self, *secrets: str) -> None:
        """None of the secrets was logged."""
        text = f"{self.lines}\n{self.caplog.text}"
        assert "array answered" in text
        for secret in secrets:
            assert secret not in text


def no_blind_repetition(server: Server) -> None:
    """No request that makes something was sent again without a look in between."""
    seen: dict[str, bool] = {}
    for entry in server.journal:
        if entry.method != "POST" or any(word in entry.path for word in READING):
            seen = {body: looked or entry.method == "GET" for body, looked in seen.items()}
            continue
        key = f"{entry.path} {entry.body}"
        refused = entry.status in (401, 403, 429, 500) or entry.fault.startswith("status 429")
        assert seen.get(key, True), key
        if not refused:
            seen[key] = False
        else:
            seen.pop(key, None)


def modest(server: Server) -> None:
    """Never more requests under way than promised."""
    assert server.most_in_flight <= IN_FLIGHT_MAX
