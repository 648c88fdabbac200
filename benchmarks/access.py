"""Access: decisions from the cache, compared with the store, read again, and of a policy service.

A real Valkey and a real HTTP server on loopback as the policy service. The record has 100 grants.
Goals: 0.2 ms at most (99th percentile) for a cached decision; 10 ms beside its own time for a
question to the policy service.
"""

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

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
from core.names import QuotaScope, VFolderId
from core.settings import AccessTable, CalloutTable
from tests.support.doors import settings_in
from tests.support.valkey import running_valkey

GRANTS = 100
TIMES = 5_000
USER, OWNER = uuid4(), uuid4()


class Policy(BaseHTTPRequestHandler):
    """A policy service that permits everything and lets nothing be kept."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
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
        _callout(settings.directory, cache, chosen.entries // 10)


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

    _show("decision of a policy service", _timed(ask, times))
    server.shutdown()


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
