"""A small file by API key, by a person's ticket and by the manager's ticket, in turns at one door.

A real client door with `[vfolder.access]`, a real Valkey, one connection each that stays open.
Goal: by key at least 0.9 of the speed by ticket, with every opening in the audit log.
"""

import socket
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from backends.volumes.access.subjects import LocalVolumes, SubjectStore
from benchmarks._doors import Case, Server, measure, show
from benchmarks._load import answer, request
from benchmarks._places import options
from core.access import Scope, tickets
from core.access.audit import files, verify
from core.access.credentials import keys
from core.names import QuotaScope, VFolderId
from core.redis import Database, connect
from core.settings import AccessTable, Settings
from tests.support.doors import running_door, settings_in
from tests.support.valkey import running_valkey

SIZE = 4096
MORE = """
[vfolder.doors]
processes = 1
[vfolder.access]
home = "local"
"""


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=15, requests=1000)
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        room = Path(place)
        (room / "store").mkdir()
        store = stack.enter_context(running_valkey(room / "store"))
        settings = settings_in(room, store.url, MORE)
        user = uuid4()
        key = _key(settings, user)
        vfolder = _vfolder(settings, user)
        door = stack.enter_context(running_door("client", settings))
        server = Server(door.url, door.process)
        by_key = _by_key(vfolder, key)
        asked = {
            "manager's ticket": _by_ticket(settings, vfolder, None),
            "person's ticket": _by_ticket(settings, vfolder, _person(user, key)),
            "key": by_key,
        }
        cases = []
        for name, sent in asked.items():
            connection = stack.enter_context(_connected(door.url))
            cases.append(Case(name, Requests(connection, sent, chosen.requests), server))
        for case in cases:
            case.run()  # every process has what it keeps
        measure(cases, chosen.rounds)
        show("GET of 4 KiB", cases, chosen.requests, "files")
        _check_audit(settings, chosen.requests * (chosen.rounds + 1))


def _key(settings: Settings, user: UUID) -> str:
    table = settings.vfolder.access or AccessTable()
    asked = keys.KeyRequest(scopes=(Scope.FILES_READ,))
    key, text = keys.new_key(asked, operator=False, table=table, now=time.time())
    with connect(settings, Database.LIVE) as client:
        volumes = LocalVolumes(settings)
        secrets = [settings.storage_proxy.secret]
        SubjectStore("local", secrets, volumes, client).add_key(user, key, table)
    return text


def _vfolder(settings: Settings, user: UUID) -> VFolderId:
    vfolder = VFolderId(QuotaScope.parse(f"user:{user}"), uuid4())
    path = settings.directory / "local" / vfolder.directory
    path.mkdir(parents=True)
    (path / "f").write_bytes(bytes(SIZE))
    return vfolder


def _person(user: UUID, key: str) -> tickets.PersonClaims:
    return tickets.PersonClaims(sub=f"user:{user}", cid=f"key:{keys.parsed(key).id}")


def _by_ticket(
    settings: Settings, vfolder: VFolderId, person: tickets.PersonClaims | None
) -> bytes:
    ticket = tickets.DownloadTicket(
        volume="local", vfid=str(vfolder), relpath="f", exp=tickets.expiry(3600), person=person
    )
    token = tickets.issue(ticket, settings.storage_proxy.secret)
    return request("GET", f"/download?token={token}", b"")


def _by_key(vfolder: VFolderId, key: str) -> bytes:
    path = f"/v1/vfolders/{vfolder.id}/content?path=f"
    return request("GET", path, b"", Authorization=f"Bearer {key}")


def _connected(url: str) -> socket.socket:
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port), 60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Requests:
    """The same request again and again on one connection."""

    def __init__(self, connection: socket.socket, sent: bytes, count: int) -> None:
        self._connection = connection
        self._sent = sent
        self._count = count
        self._buffer = bytearray(1 << 16)

    def __call__(self) -> None:
        for _ in range(self._count):
            self._connection.sendall(self._sent)
            answer(self._connection, self._buffer)


def _check_audit(settings: Settings, openings: int) -> None:
    """Raise unless every opening by key is in the log, and the chain holds."""
    directory = settings.state_dir / "audit"
    until = time.monotonic() + 60
    while (found := verify(directory))[0] < openings and time.monotonic() < until:
        time.sleep(0.1)
    if found != (openings, []):
        raise SystemExit(f"the audit log has {found[0]} lines of {openings}: {found[1][:3]}")
    size = sum(path.stat().st_size for path in files(directory))
    print(f"  audit: {found[0]:,} lines, {size / found[0]:.0f} bytes each, the chain is whole")
