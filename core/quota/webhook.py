"""The webhook: posts the waiting notices to one URL, in the form of Standard Webhooks.

    POST <url>
    webhook-id: <id of the notice>          the same in each repetition
    webhook-timestamp: <seconds>            when this post was made
    webhook-signature: v1,<base64>          HMAC-SHA-256 of `<id>.<timestamp>.<body>`

    {"type": "quota", "timestamp": "…", "id": "…", "data": {…}}

Only an answer of 200 to 299 takes a notice. Standard Webhooks, 1.0.0, https://standardwebhooks.com.
Import this module by name: urllib3 takes long to load.
"""

import hmac
import random
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from uuid import UUID

from core.names import moment_of_ms
from core.process.json_post import Certificates, Circuit, JsonPost, NoAnswer
from core.process.version import VERSION
from core.quota.notices import at_ms_of
from core.quota.webhook_queue import WaitingNotice, WebhookQueue
from core.redis import Database, connect, json
from core.settings import Settings
from core.telemetry import logger, metrics

#: The pause after a failed post doubles from the first one to the last one (seconds).
PAUSE_SECONDS = 5.0
PAUSE_MAX_SECONDS = 600.0
#: A pause is longer or shorter by this part, so that subjects do not come all at once.
JITTER = 0.2
#: Beside the time of a post, so long no other process posts the notices of its subject (seconds).
CLAIM_SECONDS = 10.0
_log = logger(__name__)


class Webhook:
    """Posts notices, one at a time; made after the fork, used by one thread."""

    def __init__(self, settings: Settings) -> None:
        table = settings.vfolder.notices
        self._key = table.key
        self._give_up_seconds = table.give_up_seconds
        self._claim_seconds = table.timeout + CLAIM_SECONDS
        files = Certificates(table.ca, table.client_cert, table.client_key)
        certificates = files.options(settings.directory)
        self._post = JsonPost(table.url, table.timeout, certificates=certificates, at_once=1)
        self._circuit = Circuit()
        self._queue = WebhookQueue(connect(settings, Database.JOBS))

    def deliver(self, goes_on: Callable[[], bool]) -> int:
        """Post what is due while `goes_on` is true; return how many notices were taken.

        After five failures in a row there is one post in ten seconds.

        Raises:
            redis.RedisError: the store does not answer.
        """
        taken = 0
        while goes_on() and self._circuit.enter():
            notice = self._queue.take(self._claim_seconds)
            if notice is None:
                break
            reason = self._failure_of(notice)
            self._circuit.leave(well=reason is None)
            metrics.NOTICES_POSTED.labels("failed" if reason else "delivered").inc()
            if reason is None:
                taken += 1
                self._queue.end(notice)
            else:
                self._leave(notice, reason)
        return taken

    def _leave(self, notice: WaitingNotice, reason: str) -> None:
        """Let a notice that was not taken wait, or give it up."""
        facts = {"notice": notice.id, "reason": reason, "failures": notice.failures + 1}
        if time.time() - at_ms_of(notice.id) / 1000 < self._give_up_seconds:
            _log.warning("notice not posted", **facts)
            self._queue.postpone(notice, _pause(notice.failures))
        elif self._queue.end(notice):
            _log.error("notice given up", **facts)
            metrics.NOTICES_DROPPED.labels("given-up").inc()

    def _failure_of(self, notice: WaitingNotice) -> str | None:
        """Post a notice; return why the receiver did not take it, None when it did."""
        body = body_of(notice.id, notice.subject, json.loads(notice.text))
        at = int(time.time())
        headers = {
            "User-Agent": f"vfolder/{VERSION}",
            "webhook-id": notice.id,
            "webhook-timestamp": str(at),
            "webhook-signature": signature(self._key, notice.id, at, body),
        }
        try:
            status = self._post.send(body, headers).status
        except NoAnswer as error:
            return str(error)
        return None if 200 <= status < 300 else f"it answered {status}"  # noqa: PLR2004 - RFC 9110 §15.3


def signature(key: bytes, notice_id: str, at: int, body: bytes) -> str:
    """Return the header that signs a post of a moment (seconds of the epoch)."""
    content = f"{notice_id}.{at}.".encode() + body
    return f"v1,{b64encode(hmac.digest(key, content, 'sha256')).decode()}"


def body_of(notice_id: str, subject: str, facts: dict[str, Any]) -> bytes:
    """Return what is posted; ids are UUIDs, and a directory of no subject is null."""
    data = {name: value for name, value in facts.items() if name not in ("kind", "scope")}
    if "scope" in facts:
        data["scope_id"] = _uuid(facts["scope"])
    if "vfolder" in facts:
        data["vfolder"] = _uuid(facts["vfolder"])
    document = {
        "type": facts["kind"],
        "timestamp": moment_of_ms(at_ms_of(notice_id)),
        "id": notice_id,
        "data": {"subject": _uuid(subject), **data},
    }
    return json.dumps(document).encode()


def _uuid(text: str | None) -> str | None:
    try:
        return str(UUID(text)) if text else None
    except ValueError:
        return None


def _pause(failures: int) -> float:
    """Return the time until the next post, after so many failures before this one (seconds)."""
    pause = min(PAUSE_MAX_SECONDS, PAUSE_SECONDS * 2.0 ** min(failures, 32))
    return pause * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
