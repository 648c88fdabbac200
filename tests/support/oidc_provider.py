"""A real provider of OpenID Connect as a process, and a browser that signs in there."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import requests

from core.process import end_with_parent
from tests.support.node import wait_for
from tests.support.ports import free_port

SCRIPT = Path(__file__).with_suffix(".mjs")
#: The secret of its client `console`.
SECRET = "secret of the console: %&+"
_ACTION = re.compile(r'action="([^"]+)"')
_SECONDS = 30.0


class RunningProvider:
    """The provider; `url` is its issuer."""

    def __init__(self, url: str, redirect_uri: str) -> None:
        self.url = url
        self._redirect_uri = redirect_uri
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["node", str(SCRIPT), self.url, self._redirect_uri]
        quiet = subprocess.DEVNULL
        ends = end_with_parent()
        self._process = subprocess.Popen(
            words,
            stdout=quiet,
            stderr=quiet,
            preexec_fn=ends,  # noqa: PLW1509 - a prctl between fork and exec
        )
        wait_for(self._answers)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/jwks", timeout=_SECONDS).ok
        except requests.ConnectionError:
            return False

    def signed_in(self, url: str, name: str = "alice") -> str:
        """Sign in there as a person does; return where the provider sends the browser then."""
        with requests.Session() as browser:
            browser.trust_env = False
            answer = browser.get(url, allow_redirects=False, timeout=_SECONDS)
            while not (sent_to := self._left(answer)):
                if answer.is_redirect:
                    goes_to = urljoin(answer.url, answer.headers["Location"])
                    answer = browser.get(goes_to, allow_redirects=False, timeout=_SECONDS)
                    continue
                assert answer.ok, answer.text
                action = _ACTION.search(answer.text)
                assert action, answer.text
                prompt = "login" if 'value="login"' in answer.text else "consent"
                form = {"prompt": prompt, "login": name, "password": "x"}
                answer = browser.post(action[1], form, allow_redirects=False, timeout=_SECONDS)
            return sent_to

    def _left(self, answer: requests.Response) -> str:
        location = answer.headers.get("Location", "")
        return location if location.startswith(self._redirect_uri) else ""


@contextmanager
def running_provider(redirect_uri: str) -> Iterator[RunningProvider]:
    """A provider that sends browsers back to `redirect_uri`, until the end of the block."""
    provider = RunningProvider(f"http://127.0.0.1:{free_port()}", redirect_uri)
    provider.start()
    try:
        yield provider
    finally:
        provider.stop()
