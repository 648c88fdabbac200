"""Access: decisions of the cache, of the store, of files, of a policy service; refusals of keys.

A real Valkey and a real HTTP server on loopback as the policy service. The record has 100 grants.
Each figure is of 10,000 samples. Goals: 0.2 ms at most (99th percentile) for a cached decision;
10 ms beside its own time for a question to the policy service. The proof of a key takes the same
time whether its id is known or not: the samples of both alternate.
"""

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

from backends.volumes.access.subjects import LocalVolumes, SubjectStore
from benchmarks._places import options
from core.access import (
    ACTS,
    AccessCache,
    Caller,
    CredentialFacts,
    Deciders,
    Decision,
    Grant,
    RecordOwner,
    Scope,
    Seals,
    Subject,
    VFolderRecord,
    VFolderResource,
    decide_rule,
    record_key,
    records,
)
from core.access.credentials import keys as api_keys
from core.access.credentials.issuers import CredentialRefused
from core.access.credentials.keys import KeyRequest, ParsedKey
from core.names import QuotaScope, VFolderId
from core.redis import Database, connect
from core.settings import AccessTable, CalloutTable, Settings
from tests.support.doors import settings_in
from tests.support.valkey import running_valkey

GRANTS = 100
#: Of as many users.
KEYS = 20
TIMES = 10_000
USER, OWNER = uuid4(), uuid4()


class Policy(BaseHTTPRequestHandler):
    """A policy service that permits everything and lets nothing be kept."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    #: Its own time for each question (ms).
    own: ClassVar[list[float]] = []

    def do_POST(self) -> None:
        begin = time.perf_counter()
        self._answer()
        self.own.append((time.perf_counter() - begin) * 1000)

    def _answer(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answers = [{"permission": "rw", "ttl_seconds": 0} for _ in asked["input"]["checks"]]
        body = json.dumps({"result": {"checks": answers}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=1, entries=TIMES)
    with tempfile.TemporaryDirectory() as folder, running_valkey(Path(folder) / "store") as server:
        settings = settings_in(Path(folder), server.url)
        cache = AccessCache(settings)
        clock = [0.0]
        eager = AccessCache(settings, lambda: clock[0])
        _show("decision, record near", _timed(lambda: _decide(cache), chosen.entries))

        def compared() -> None:
            clock[0] += 1.0
            _decide(eager)

        _show("decision, record compared", _timed(compared, chosen.entries))
        _show("decision, all records read", _timed(_pure, chosen.entries))
        _keys(settings, chosen.entries)
        _callout(settings.directory, cache, chosen.entries)


def _record() -> tuple[VFolderId, VFolderRecord]:
    vfolder = VFolderId(QuotaScope.parse(f"user:{OWNER}"), uuid4())
    grants = [Grant(id=f"g{at}", to=f"user:{uuid4()}", permission="ro") for at in range(GRANTS - 1)]
    own = Grant(id="own", to=f"user:{USER}", permission="rw")
    record = VFolderRecord(
        id=vfolder.id,
        volume="local",
        scope=str(vfolder.scope),
        owner=RecordOwner(kind="user", id=OWNER),
        grants=(*grants, own),
    )
    return vfolder, record


VFOLDER, RECORD = _record()
SEALS = Seals(["secret"])
PLACE = records.place_of("local", VFOLDER)
TEXT = SEALS.seal(RECORD, PLACE)
CALLER = Caller(
    subject=Subject(kind="user", id=USER),
    credential=CredentialFacts(kind="key", id="k", scopes=frozenset(Scope)),
)


def _opened(text: bytes | None) -> VFolderRecord:
    return SEALS.opened(text or b"", PLACE, VFolderRecord)


def _decide(cache: AccessCache) -> None:
    record = cache.get(record_key("local", VFOLDER.id), lambda: TEXT, _opened)
    here = {"vfolder": VFolderResource(record=record)}
    _check(decide_rule(CALLER, ACTS["entries.write"], here))


def _pure() -> None:
    here = {"vfolder": VFolderResource(record=_opened(TEXT))}
    _check(decide_rule(CALLER, ACTS["entries.write"], here))


def _callout(directory: Path, cache: AccessCache, times: int) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Policy)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    table = CalloutTable(url=f"http://127.0.0.1:{server.server_port}/")
    deciders = Deciders(AccessTable(decider="callout", callout=table), directory, cache)
    here = {"vfolder": VFolderResource(record=RECORD)}

    def ask() -> None:
        _check(deciders.decide_rule(CALLER, ACTS["entries.write"], here))

    Policy.own.clear()
    asked = _timed(ask, times)
    server.shutdown()
    _show("decision of a policy service", asked)
    pairs = zip(asked, Policy.own, strict=True)
    _show("the same without its own time", [whole - own for whole, own in pairs])


def _keys(settings: Settings, times: int) -> None:
    """Refuse a wrong secret of a known id, and a key whose id no user has, in turn."""
    table, now = AccessTable(home="local"), time.time()
    request = KeyRequest(scopes=(Scope("files:read"),))
    with connect(settings, Database.LIVE) as client:
        subjects = SubjectStore("local", ["secret"], LocalVolumes(settings), client)
        made = [
            api_keys.new_key(request, operator=False, table=table, now=now) for _ in range(KEYS)
        ]
        for key, _ in made:
            subjects.add_key(uuid4(), key, table)
        _, foreign = api_keys.new_key(request, operator=False, table=table, now=now)
        unknown = api_keys.parsed(foreign)
        known = unknown._replace(id=made[-1][0].id)

        def refused(given: ParsedKey) -> None:
            held = subjects.held_key(given.id)
            with suppress(CredentialRefused):
                api_keys.check_secret(given, held and held.key, now, "127.0.0.1")
                raise RuntimeError("A wrong key was taken.")

        samples: dict[ParsedKey, list[float]] = {known: [], unknown: []}
        for _ in range(times):
            for given, taken in samples.items():
                taken.extend(_timed(partial(refused, given), 1))
    _show("refusal of a key, known id", samples[known])
    _show("refusal of a key, unknown id", samples[unknown])


def _check(decision: Decision) -> None:
    if not decision.allowed:
        raise RuntimeError(decision.reason)


def _timed(call: Callable[[], None], times: int) -> list[float]:
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        taken.append((time.perf_counter() - begin) * 1000)
    return taken


def _show(name: str, taken: list[float]) -> None:
    hundredths = statistics.quantiles(taken, n=100)
    print(f"{name:32} {hundredths[49]:7.3f} ms   p99 {hundredths[98]:7.3f} ms", flush=True)
