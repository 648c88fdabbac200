"""Headless Chromium over its debugging pipe (file descriptors 3 and 4, JSON ended by NUL)."""

import base64
import fcntl
import itertools
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.chromium import program
from tests.support.node import wait_for

#: Bytes per second of a slow line, so that an upload lasts until it is looked at.
SLOW_BYTES_PER_SECOND = 400_000


class Browser:
    """One page of one browser process."""

    def __init__(self, profile: Path) -> None:
        ours, theirs_in = os.pipe(), os.pipe()
        self._read, self._write = ours[0], theirs_in[1]

        def arrange() -> None:
            out_of_the_way = [fcntl.fcntl(end, fcntl.F_DUPFD, 5) for end in (theirs_in[0], ours[1])]
            for number, end in enumerate(out_of_the_way, 3):
                os.dup2(end, number)

        self.process = subprocess.Popen(
            [
                program() or "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
                "--no-first-run",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=arrange,  # noqa: PLW1509 - dup2 between fork and exec
            close_fds=False,
        )
        os.close(ours[1])
        os.close(theirs_in[0])
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._session = ""
        #: What the browser reported by itself: requests, errors of pages, and so on.
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.call("Page.enable")
        self.call("DOM.enable")

    def call(self, method: str, **params: object) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, object] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if "method" in answer:
                self.events.append(answer)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._read, 1 << 16)
            assert data, "the browser ended"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def value(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)[
            "result"
        ].get("value")

    def until(self, expression: str) -> None:
        check: Callable[[], bool] = lambda: bool(self.value(expression))  # noqa: E731 - a name for mypy
        wait_for(check, 180, expression)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def choose(self, selector: str, paths: list[Path]) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def slow_uploads(self) -> None:
        """Let the page send slowly from now on."""
        self.call("Network.enable")
        rates = {"downloadThroughput": -1, "uploadThroughput": SLOW_BYTES_PER_SECOND}
        self.call("Network.emulateNetworkConditions", offline=False, latency=0, **rates)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait(120)
        os.close(self._read)
        os.close(self._write)


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser that is gone at the end; the profile stays for the next."""
    made = Browser(profile)
    try:
        yield made
    finally:
        made.kill()
