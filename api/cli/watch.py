"""Follow a job to its end by its event stream (server-sent events, WHATWG HTML §9.2).

A broken stream is continued where it ended (`Last-Event-ID`). A door that accepts no more streams
is polled instead, at the interval of its `Retry-After`.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import click
import requests
from rich.console import Console
from rich.live import Live
from rich.text import Text

from api.cli.forms import ApiRefused, Output, is_terminal
from api.cli.http import CONNECT_SECONDS, Manager, check_success
from api.cli.output import sentence
from core.names import printable

#: A stream that is silent for this long is broken: the door sends a comment every ten seconds.
SILENCE_SECONDS = 30.0
#: The time between two attempts to connect.
AGAIN_SECONDS = 2.0
#: The shortest time between two lines when the output is no terminal.
LINE_SECONDS = 10.0
_UNAVAILABLE = 503


class Broken(Exception):
    """The stream ended before the job did."""


def _events(response: requests.Response) -> Iterator[tuple[str, str, str]]:
    """Yield what arrives as (id, name, data).

    Raises:
        Broken: it is no stream of events of a door.
    """
    from vfolder_client.errors import ClientError  # noqa: PLC0415 - other commands need it not
    from vfolder_client.jobs import events  # noqa: PLC0415 - as above

    try:
        yield from events(response.iter_content(None))
    except ClientError as error:
        raise Broken from error


class Watch:
    """A job that is followed; iterating yields its document at every change."""

    def __init__(self, door: Manager, job: str, patience_seconds: float) -> None:
        self._door = door
        self._job = job
        self._patience = patience_seconds
        self._seen = ""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        heard = time.monotonic()
        while True:
            try:
                for document in self._stream():
                    heard = time.monotonic()
                    yield document
                    if document["done"]:
                        return
            except (requests.RequestException, Broken) as error:
                if time.monotonic() - heard > self._patience:
                    raise ApiRefused(
                        "The door does not answer any more; the job continues without it.",
                        f"`vfolder jobs watch {self._job}` once the door is back",
                    ) from error
                time.sleep(AGAIN_SECONDS)

    def _stream(self) -> Iterator[dict[str, Any]]:
        headers = {"Last-Event-ID": self._seen} if self._seen else {}
        response = self._door.session.get(
            f"{self._door.url}/v1/jobs/{self._job}/events",
            headers=headers,
            stream=True,
            timeout=(CONNECT_SECONDS, SILENCE_SECONDS),
        )
        with response:
            if response.status_code == _UNAVAILABLE:
                yield self._poll(response)
                return
            check_success(response)
            for number, name, data in _events(response):
                self._seen = number
                if name == "job":
                    yield json.loads(data)
                if name == "gone":
                    raise ApiRefused("The record of the job was deleted while it was followed.")
        raise Broken

    def _poll(self, response: requests.Response) -> dict[str, Any]:
        delay = response.headers.get("Retry-After", "")
        time.sleep(float(delay) if delay.isdecimal() else AGAIN_SECONDS)
        document: dict[str, Any] = self._door.request_json("GET", f"/v1/jobs/{self._job}")
        return document


def follow(watch: Watch, output: Output) -> dict[str, Any]:
    """Show a job until it ends, and return its last document."""
    last: dict[str, Any] = {}
    if output.is_data:
        for last in watch:
            output.data(last)
        return last
    if is_terminal():
        return _rewriting(watch)
    printed, text = -LINE_SECONDS, ""
    for last in watch:
        line = _line(last)
        if last["done"] or (line != text and time.monotonic() - printed >= LINE_SECONDS):
            printed, text = time.monotonic(), line
            click.echo(line)
    return last


def _rewriting(watch: Watch) -> dict[str, Any]:
    last: dict[str, Any] = {}
    with Live(Text(""), console=Console(), refresh_per_second=4) as live:
        for last in watch:
            live.update(Text(_line(last), overflow="ellipsis", no_wrap=True))
    return last


def _line(job: dict[str, Any]) -> str:
    return printable(f"{job['state']}: {sentence(job)}")
