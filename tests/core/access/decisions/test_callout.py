"""The callout against a real HTTP server that follows OPA's documents, or breaks them."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec import structs

from core.access import (
    ACTS,
    AccessCache,
    AccessChange,
    Caller,
    CredentialFacts,
    Deciders,
    JobResource,
    Permission,
    RecordOwner,
    Scope,
    Subject,
    VFolderRecord,
    VFolderResource,
)
from core.access.decisions import callout
from core.access.decisions.callout import ANSWER_MAX_BYTES
from core.errors import AccessUnavailable
from core.process.json_post import FAILURES_MAX, OPEN_SECONDS, Circuit
from core.settings import AccessTable, CalloutTable
from tests.support.doors import settings_in
from tests.support.valkey import Valkey

TIMEOUT_SECONDS = 1.0
#: A healthy machine needs milliseconds more than the time-out.
SLACK_SECONDS = 20.0
TOKEN = "policy-token"
YES, NO = True, False
Reply = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def result(value: object) -> Reply:
    return lambda handler, _: send(handler, json.dumps({"result": value}).encode())


def every(permission: str, **more: object) -> Reply:
    def reply(handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        checks = [{"permission": permission, **more} for _ in asked["input"]["checks"]]
        send(handler, json.dumps({"result": {"checks": checks}}).encode())

    return reply


class Policy:
    """A policy service whose next answers a test chooses."""

    def __init__(self) -> None:
        self.reply: Reply = every("ro")
        self.seen: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.released = threading.Event()
        policy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                policy.seen.append(json.loads(body))
                policy.headers.append(dict(self.headers))
                policy.reply(self, policy.seen[-1])

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/data/vfolder/allow"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def policy() -> Iterator[Policy]:
    service = Policy()
    yield service
    service.close()


@pytest.fixture
def service(policy: Policy, tmp_path: Path) -> callout.Callout:
    table = CalloutTable(url=policy.url, token=TOKEN, timeout=TIMEOUT_SECONDS)
    return callout.Callout(table, tmp_path)


OWN = UUID(int=1)
USER = Subject(kind="user", id=OWN, groups=frozenset({UUID(int=5)}))
CALLER = Caller(
    subject=USER,
    credential=CredentialFacts(kind="key", id="k1", scopes=frozenset(Scope)),
    request_id="r1",
)


def checks(count: int, need: Permission = Permission.RW) -> list[callout.Check]:
    return [
        callout.Check(volume="local", scope="user:1", vfolder=str(at), need=need)
        for at in range(count)
    ]


def asked(service: callout.Callout, count: int = 1) -> list[Permission]:
    answers = service.ask(CALLER, "entries.write", checks(count))
    return [answer.held.permission for answer in answers]


def test_the_form_of_a_call(service: callout.Callout, policy: Policy) -> None:
    assert asked(service) == [Permission.RO]
    assert policy.seen[0]["input"] == {
        "v": 1,
        "request_id": "r1",
        "subject": {
            "kind": "user",
            "id": str(UUID(int=1)),
            "groups": [str(UUID(int=5))],
            "roles": [],
        },
        "credential": {"kind": "key", "id": "k1"},
        "action": "entries.write",
        "checks": [{"volume": "local", "scope": "user:1", "vfolder": "0", "need": "rw"}],
    }
    assert policy.headers[0]["Authorization"] == f"Bearer {TOKEN}"


def test_a_list_is_one_call_for_each_200(service: callout.Callout, policy: Policy) -> None:
    assert asked(service, 450) == [Permission.RO] * 450
    assert [len(one["input"]["checks"]) for one in policy.seen] == [200, 200, 50]


@pytest.mark.parametrize(
    ("answer", "permission"),
    [
        (result(YES), Permission.RW),
        (result(NO), Permission.NONE),
        (result({"allow": True}), Permission.RW),
        (result({"allow": False}), Permission.NONE),
        (every("wd"), Permission.RWD),
        (every("owner", ttl_seconds=0, reason="member"), Permission.OWNER),
    ],
)
def test_plain_answers_are_understood(
    service: callout.Callout, policy: Policy, answer: Reply, permission: Permission
) -> None:
    policy.reply = answer
    assert asked(service) == [permission]


def hang(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    handler.server.policy.released.wait()  # type: ignore[attr-defined] # set by the test


def redirect(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    handler.send_response(307)
    handler.send_header("Location", "/elsewhere")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def cut(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"result": true}')
    handler.close_connection = True


WRONG: dict[str, Reply] = {
    "500": lambda handler, _: send(handler, b'{"result": true}', 500),
    "no json": lambda handler, _: send(handler, b"yes"),
    "no object": lambda handler, _: send(handler, b"true"),
    "deep": lambda handler, _: send(handler, b"[" * 100_000),
    "undefined in OPA": lambda handler, _: send(handler, b"{}"),
    "null": result(None),
    "word": result("true"),
    "number": result(1),
    "allow is a word": result({"allow": "yes"}),
    "no checks": result({"checks": []}),
    "too many checks": result({"checks": [{"permission": "ro"}] * 2}),
    "unknown word": every("admin"),
    "permission is null": result({"checks": [{"permission": None}]}),
    "check is a word": result({"checks": ["rw"]}),
    "seconds are a word": every("rw", ttl_seconds="30"),
    "seconds are true": every("rw", ttl_seconds=True),
    "seconds below 0": every("rw", ttl_seconds=-1),
    "huge": lambda handler, _: send(handler, b" " * (ANSWER_MAX_BYTES + 1)),
    "redirect": redirect,
    "cut": cut,
}


@pytest.mark.parametrize("kind", WRONG)
def test_every_wrong_answer_is_a_no(service: callout.Callout, policy: Policy, kind: str) -> None:
    policy.reply = WRONG[kind]
    with pytest.raises(AccessUnavailable):
        asked(service)
    assert len(policy.seen) == 1, "no redirect is followed, and no call is repeated"
    policy.reply = every("rw")
    assert asked(service) == [Permission.RW], "the next call is a new one"


def test_an_answer_for_ever_ends_after_30_seconds() -> None:
    checks = [callout.Check(volume="local", scope="", vfolder="", need=Permission.RO)]
    text = b'{"result": {"checks": [{"permission": "ro", "ttl_seconds": %s}]}}'
    for seconds in (b"1" + b"0" * 400, b"1e300", b"31"):
        (answer,) = callout.parsed(text % seconds, checks)
        assert answer.ttl_seconds == 30
    for seconds in (b"NaN", b"-1" + b"0" * 400):
        with pytest.raises(AccessUnavailable):
            callout.parsed(text % seconds, checks)


def test_allow_is_no_answer_to_several_checks(service: callout.Callout, policy: Policy) -> None:
    policy.reply = result(YES)
    with pytest.raises(AccessUnavailable):
        asked(service, 2)


def drip(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    """Send a byte of the head at a time: no time-out of a socket ends this."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not handler.server.policy.released.wait(0.1):  # type: ignore[attr-defined] # as above
        handler.wfile.write(b"x")
        handler.wfile.flush()


@pytest.mark.parametrize("reply", [hang, drip])
def test_a_service_that_hangs_is_left_alone(
    service: callout.Callout, policy: Policy, reply: Reply
) -> None:
    policy._server.policy = policy  # type: ignore[attr-defined] # for the handlers above
    policy.reply = reply
    begin = time.monotonic()
    with pytest.raises(AccessUnavailable):
        asked(service)
    assert time.monotonic() - begin < TIMEOUT_SECONDS + SLACK_SECONDS


def test_a_service_that_is_not_there_is_a_no(tmp_path: Path) -> None:
    nowhere = callout.Callout(CalloutTable(url="http://127.0.0.1:1/x"), tmp_path)
    with pytest.raises(AccessUnavailable):
        asked(nowhere)


def test_after_five_failures_it_has_a_pause(service: callout.Callout, policy: Policy) -> None:
    policy.reply = WRONG["500"]
    for _ in range(FAILURES_MAX + 3):
        with pytest.raises(AccessUnavailable):
            asked(service)
    assert len(policy.seen) == FAILURES_MAX


def test_a_service_that_flaps_says_no_where_it_fails(
    service: callout.Callout, policy: Policy
) -> None:
    """An answer between failures ends their count: it never has a pause."""
    wrong = list(WRONG)
    for number in range(3 * FAILURES_MAX):
        policy.reply = WRONG[wrong[number % len(wrong)]]
        with pytest.raises(AccessUnavailable):
            asked(service)
        policy.reply = every("rw")
        assert asked(service) == [Permission.RW]


def test_after_the_pause_one_call_tries() -> None:
    now = [0.0]
    circuit = Circuit(lambda: now[0])
    for _ in range(FAILURES_MAX):
        assert circuit.enter()
        circuit.leave(well=False)
    assert not circuit.enter()
    now[0] = OPEN_SECONDS
    assert [circuit.enter(), circuit.enter()] == [True, False]
    circuit.leave(well=False)
    assert not circuit.enter()
    now[0] *= 2
    assert circuit.enter()
    circuit.leave(well=True)
    assert [circuit.enter(), circuit.enter()] == [True, True]


# -- With the records ------------------------------------------------------------------------------
def vfolder(owner: UUID = OWN) -> VFolderResource:
    record = VFolderRecord(
        id=uuid4(), volume="local", scope=f"user:{owner}", owner=RecordOwner(kind="user", id=owner)
    )
    return VFolderResource(record=record)


Make = Callable[..., Deciders]


@pytest.fixture
def deciders(policy: Policy, valkey: Valkey, tmp_path: Path) -> Make:
    settings = settings_in(tmp_path, valkey.url)

    def make(decider: str = "callout", on_failure: str = "refuse") -> Deciders:
        table = CalloutTable(url=policy.url, timeout=TIMEOUT_SECONDS, on_failure=on_failure)
        cache = AccessCache(settings)
        made = Deciders(AccessTable(decider=decider, callout=table), tmp_path, cache)
        made.cache_of_test = cache  # type: ignore[attr-defined] # for a change in a test
        return made

    return make


def test_local_records_ask_no_policy_service(deciders: Make, policy: Policy) -> None:
    decision = deciders("local").decide_rule(CALLER, ACTS["entries.write"], {"vfolder": vfolder()})
    assert (decision.allowed, decision.decider, policy.seen) == (True, "local", [])


@pytest.mark.parametrize(
    ("decider", "word", "owner", "allowed"),
    [
        ("callout", "rw", 9, True),
        ("callout", "ro", 1, False),
        ("both", "rw", 1, True),
        ("both", "rw", 9, False),
        ("both", "ro", 1, False),
    ],
)
def test_the_policy_service_decides_alone_or_too(
    deciders: Make, policy: Policy, *, decider: str, word: str, owner: int, allowed: bool
) -> None:
    policy.reply = every(word)
    here = {"vfolder": vfolder(UUID(int=owner))}
    decision = deciders(decider).decide_rule(CALLER, ACTS["entries.write"], here)
    assert (decision.allowed, decision.decider) == (allowed, decider)


def test_both_ends_of_a_copy_are_asked_about(deciders: Make, policy: Policy) -> None:
    ends = {"source": vfolder(), "target": vfolder()}
    policy.reply = every("rw")
    decision = deciders().decide_rule(CALLER, ACTS["jobs.transfer"], ends)
    assert decision.allowed
    needs = [check["need"] for one in policy.seen for check in one["input"]["checks"]]
    assert needs == ["ro", "rw"]


def test_an_absent_vfolder_is_no_question(deciders: Make, policy: Policy) -> None:
    here = {"vfolder": VFolderResource(record=None)}
    assert deciders().decide_rule(CALLER, ACTS["entries.read"], here).hidden
    assert policy.seen == []


def test_the_vfolders_of_a_job_are_one_call(deciders: Make, policy: Policy) -> None:
    job = JobResource(requester="user:other", vfolders=(vfolder(), vfolder()), target=vfolder())
    assert deciders().decide_rule(CALLER, ACTS["jobs.read"], {"job": job}).allowed
    assert [len(one["input"]["checks"]) for one in policy.seen] == [3]


def test_a_service_that_is_away_refuses_or_lets_the_records_decide(
    deciders: Make, policy: Policy
) -> None:
    policy.reply = WRONG["500"]
    here = {"vfolder": vfolder()}
    with pytest.raises(AccessUnavailable):
        deciders("callout").decide_rule(CALLER, ACTS["entries.write"], here)
    decision = deciders("both", "local").decide_rule(CALLER, ACTS["entries.write"], here)
    assert (decision.allowed, decision.decider) == (True, "fallback")


def test_an_answer_is_kept_for_its_seconds_and_ends_with_a_change(
    deciders: Make, policy: Policy
) -> None:
    policy.reply = every("rw", ttl_seconds=30)
    made = deciders()
    here = vfolder()
    act, resources = ACTS["entries.write"], {"vfolder": here}
    for _ in range(3):
        assert made.decide_rule(CALLER, act, resources).allowed
    assert len(policy.seen) == 1
    other = structs.replace(CALLER, subject=Subject(kind="user", id=uuid4()))
    made.decide_rule(other, act, resources)
    made.decide_rule(CALLER, ACTS["entries.read"], resources)
    assert len(policy.seen) == 3, "another subject, another act"
    made.cache_of_test.changed(AccessChange(everything=True))  # type: ignore[attr-defined] # above
    policy.reply = every("none")
    assert not made.decide_rule(CALLER, act, resources).allowed


def test_no_seconds_are_not_kept(deciders: Make, policy: Policy) -> None:
    policy.reply = every("rw", ttl_seconds=0)
    made, resources = deciders(), {"vfolder": vfolder()}
    for _ in range(2):
        made.decide_rule(CALLER, ACTS["entries.write"], resources)
    assert len(policy.seen) == 2


def test_a_link_is_asked_about_as_its_maker(deciders: Make, policy: Policy) -> None:
    here = vfolder()
    assert here.record is not None
    visitor = Caller(
        subject=Subject(kind="link", maker=USER),
        credential=CredentialFacts(kind="link", id="vfl_1", scopes=frozenset({Scope.FILES_READ})),
    )
    assert deciders().decide_rule(visitor, ACTS["link.read"], {"vfolder": here}).allowed
    assert policy.seen[0]["input"]["subject"]["id"] == str(USER.id)


def test_lists_are_one_call(deciders: Make, policy: Policy) -> None:
    found = deciders().permissions(CALLER, "vfolders.list", [vfolder() for _ in range(200)])
    assert len(policy.seen) == 1
    assert {one.answer.permission for one in found if one.answer} == {Permission.RO}
