"""The callout: a policy service says what a subject may do, in the shape of OPA's data API.

    POST <url>  {"input": {"v": 1, "subject": {…}, "credential": {…}, "action": …, "checks": […]}}
    200         {"result": {"checks": [{"permission": "rw", "ttl_seconds": 30}]}}

For one check, `{"result": true}` and `{"result": {"allow": true}}` mean exactly what was needed.
No answer, a wrong form or an unknown word is no permission. Open Policy Agent, REST API; MinIO,
Access Management Plugin. Import this module by name: urllib3 takes long to load.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from core.access.decisions.decision import Held
from core.access.permissions import Permission
from core.access.subjects import Caller
from core.errors import AccessUnavailable, InvalidParameters
from core.process.json_post import Certificates, Circuit, JsonPost, NoAnswer
from core.redis import json
from core.settings import CalloutTable
from core.telemetry import logger

#: Most checks of one call, most bytes of an answer, most calls of a process at the same time.
CHECKS_MAX = 200
ANSWER_MAX_BYTES = 256 * 1024
CALLS_MAX = 32
#: The longest and the usual life of an answer (seconds).
TTL_MAX_SECONDS = 30.0
TTL_SECONDS = 5.0
#: Of the form of a call.
VERSION = 1
_OK = 200
_log = logger(__name__)


class Check(Struct, frozen=True, kw_only=True):
    """One question: which permission has the subject on this vfolder, where `need` is needed?"""

    volume: str
    #: `user:<uuid>` or `project:<uuid>`.
    scope: str
    vfolder: str
    need: Permission


class Answer(Struct, frozen=True, kw_only=True):
    """What the policy service said of one check, and for how long (seconds)."""

    held: Held
    ttl_seconds: float


class Callout:
    """The policy service as one process calls it; made after the fork. Safe for threads."""

    def __init__(self, table: CalloutTable, directory: Path) -> None:
        self._circuit = Circuit()
        certificates = Certificates(table.ca, table.client_cert, table.client_key)
        self._post = JsonPost(
            table.url,
            table.timeout,
            certificates=certificates.options(directory),
            at_once=CALLS_MAX,
        )
        self._headers = {"Authorization": f"Bearer {table.token}"} if table.token else {}

    def ask(self, caller: Caller, action: str, checks: Sequence[Check]) -> list[Answer]:
        """Return an answer for each check, by one call for each 200 of them.

        Raises:
            AccessUnavailable: the service does not answer in time, or not in this form.
        """
        answers: list[Answer] = []
        for start in range(0, len(checks), CHECKS_MAX):
            part = checks[start : start + CHECKS_MAX]
            answers += self._ask(_body(caller, action, part), part)
        return answers

    def _ask(self, body: str, checks: Sequence[Check]) -> list[Answer]:
        if not self._circuit.enter():
            raise AccessUnavailable("The policy service failed again and again; it has a pause.")
        try:
            answers = parsed(self._call(body), checks)
        except AccessUnavailable as error:
            self._circuit.leave(well=False)
            _log.warning("policy service gave no answer", reason=error.detail)
            raise
        self._circuit.leave(well=True)
        return answers

    def _call(self, body: str) -> bytes:
        try:
            answer = self._post.send(body.encode(), self._headers, ANSWER_MAX_BYTES)
        except NoAnswer as error:
            raise AccessUnavailable(f"The policy service gave no answer: {error}.") from None
        if answer.status != _OK:
            raise AccessUnavailable(f"The policy service answered {answer.status}.")
        return answer.data


def _body(caller: Caller, action: str, checks: Sequence[Check]) -> str:
    subject = caller.subject
    return json.dumps(
        {
            "input": {
                "v": VERSION,
                "request_id": caller.request_id,
                "subject": {
                    "kind": subject.kind,
                    "id": str(subject.id) if subject.id else None,
                    "groups": sorted(str(group) for group in subject.groups),
                    "roles": ["operator"] if subject.kind == "operator" else [],
                },
                "credential": {"kind": caller.credential.kind, "id": caller.credential.id},
                "action": action,
                "checks": [
                    {
                        "volume": check.volume,
                        "scope": check.scope,
                        "vfolder": check.vfolder,
                        "need": check.need.word,
                    }
                    for check in checks
                ],
            }
        }
    )


def parsed(data: bytes, checks: Sequence[Check]) -> list[Answer]:
    """Return the answers of a body.

    Raises:
        AccessUnavailable: it has another form, another number of answers, or an unknown word.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise AccessUnavailable("The answer of the policy service is no JSON.") from None
    result = document.get("result") if isinstance(document, dict) else None
    if isinstance(result, dict) and isinstance(result.get("checks"), list):
        found = result["checks"]
        if len(found) != len(checks):
            raise AccessUnavailable("The policy service answered another number of checks.")
        return [_answer(one) for one in found]
    allowed = result.get("allow") if isinstance(result, dict) else result
    if not isinstance(allowed, bool) or len(checks) != 1:
        raise AccessUnavailable("The answer of the policy service has another form.")
    permission = checks[0].need if allowed else Permission.NONE
    return [Answer(held=_held(permission, TTL_SECONDS), ttl_seconds=TTL_SECONDS)]


def _answer(one: Any) -> Answer:  # noqa: ANN401 - any JSON value
    if not isinstance(one, dict) or not isinstance(one.get("permission"), str):
        raise AccessUnavailable("An answer of the policy service has no permission.")
    try:
        permission = Permission.parse(one["permission"])
    except InvalidParameters:
        raise AccessUnavailable("The policy service answered an unknown permission.") from None
    seconds = one.get("ttl_seconds", TTL_SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise AccessUnavailable("`ttl_seconds` of the policy service is no number of seconds.")
    seconds = float(min(seconds, TTL_MAX_SECONDS))
    return Answer(held=_held(permission, seconds), ttl_seconds=seconds)


def _held(permission: Permission, seconds: float) -> Held:
    return Held(permission=permission, via="callout", expires_at=time.time() + seconds)
