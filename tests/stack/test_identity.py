"""Doors that root starts run as the configured user, and everything works."""

import grp
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import psutil
import pytest
import requests

from core.errors import ConfigurationError
from core.process import MISCONFIGURED, identity
from core.settings import CONFIG_VARIABLE, Settings, StorageProxyTable
from deploy.demo.http import Doors
from deploy.procfile import PROCFILE
from tests.support import preloaded
from tests.support.doors import settings_in
from tests.support.loops import mounted
from tests.support.node import ROOT, Node, gone, processes, wait_for
from tests.support.reachable import reachable

USER = pwd.getpwuid(65_534)
DOORS = ("manager", "client", "internal")

pytestmark = pytest.mark.part("root")


def table(user: str | int | None, group: str | int | None = None) -> StorageProxyTable:
    return StorageProxyTable(node_id="n", secret="s", session_expire=1, user=user, group=group)


def test_names_numbers_and_what_stays() -> None:
    now = identity.current()
    assert identity.configured(table(None)) == identity.configured(table(-1, -1)) == now
    named = identity.configured(table(USER.pw_name))
    assert (named.uid, named.gid) == (USER.pw_uid, USER.pw_gid)
    assert identity.configured(table(USER.pw_uid)) == named
    assert identity.configured(table(str(USER.pw_uid))) == named
    daemon = grp.getgrnam("daemon").gr_gid
    assert identity.configured(table(USER.pw_name, "daemon")).gid == daemon
    assert identity.configured(table(None, "daemon")) == identity.Identity(
        now.uid, daemon, now.groups
    )
    stranger = identity.configured(table(987_654))
    assert (stranger.gid, stranger.groups) == (987_654, (987_654,))
    for wrong in (table("no such user"), table(USER.pw_name, "no such group")):
        with pytest.raises(ConfigurationError, match="no such"):
            identity.configured(wrong)


def test_a_user_that_cannot_read_the_code_ends_the_start_with_one_line(place: Path) -> None:
    """Only root may enter the directory of this interpreter, as of a Python below /root."""
    closed = place / "closed"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", closed], check=True)
    closed.chmod(0o700)
    settings = settings_in(place)
    path = Path(settings.origin)
    user = f'[storage-proxy]\nuser = "{USER.pw_name}"'
    path.write_text(path.read_text().replace("[storage-proxy]", user))
    environment = {
        CONFIG_VARIABLE: settings.origin,
        "PYTHONPATH": f"{ROOT}:{Path(pytest.__file__).parents[1]}",
    }
    for arguments in (["-m", "api.serve", "internal"], ["-m", "api.cli", "config", "check"]):
        done = subprocess.run(
            [closed / "bin/python", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert f"cannot read the Python at {closed}" in done.stderr, done
        assert "Traceback" not in done.stderr
        if "api.serve" in arguments:
            lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
            assert (done.returncode, len(lines)) == (MISCONFIGURED, 1), done.stderr
        else:
            assert done.returncode == 1


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users may enter; only root may enter pytest's own."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def running(
    place: Path, more: str = "", procfile: str = PROCFILE.read_text("utf-8")
) -> Iterator[Node]:
    """A node of root whose doors and volume belong to `USER`; `more` is further TOML."""
    found = Node(place, procfile, reachable())
    text = found.config.read_text("utf-8")
    found.config.write_text(
        text.replace("[storage-proxy]\n", f'[storage-proxy]\nuser = "{USER.pw_name}"\n') + more
    )
    os.chown(place / "volumes" / "local", USER.pw_uid, USER.pw_gid)
    found.start()
    try:
        found.wait_until_it_says("The node runs.")
        wait_for(Doors(found.settings).are_open)  # it says so even when they are late
        wait_for(found.has_worker, 120)
        yield found
    finally:
        found.stop()


@pytest.fixture
def node(place: Path) -> Iterator[Node]:
    with running(place) as found:
        yield found


class People:
    """Calls both doors."""

    def __init__(self, node: Node) -> None:
        self._settings = node.settings
        self._headers = {"X-BackendAI-Storage-Auth-Token": self._settings.api.manager.secret}

    def ask(self, method: str, path: str, **body: Any) -> Any:
        url = f"http://{self._settings.api.manager.address}{path}"
        answer = requests.request(method, url, headers=self._headers, json=body or None, timeout=60)
        assert answer.ok, answer.text
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        return answer.json() if kind == "application/json" else answer.text

    def upload(self, vfolder: str, path: str, data: bytes, volume: str = "local") -> None:
        body = {"volume": volume, "vfid": vfolder, "relpath": path, "size": len(data)}
        token = self.ask("POST", "/folder/file/upload", **body)["token"]
        headers = {"Upload-Offset": "0", "Tus-Resumable": "1.0.0"}
        headers["Content-Type"] = "application/offset+octet-stream"
        url = f"http://{self._settings.api.client.address}/upload?token={token}"
        answer = requests.patch(url, data=data, headers=headers, timeout=60)
        assert answer.status_code == 204, answer.text

    def download(self, vfolder: str, path: str) -> bytes:
        body = {"volume": "local", "vfid": vfolder, "relpath": path}
        token = self.ask("POST", "/folder/file/download", **body)["token"]
        url = f"http://{self._settings.api.client.address}/download?token={token}"
        answer = requests.get(url, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.content

    def done(self, job: str) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            found: dict[str, Any] = self.ask("GET", f"/v1/jobs/{job}")
            return found if found["done"] else {}

        return wait_for(look, 60)


def owners(node: Node) -> dict[str, set[int]]:
    """The users of each process of the Procfile, with its children."""
    found: dict[str, set[int]] = {}
    for process in psutil.Process(node.pid).children():
        name = process.cmdline()[-1]
        for one in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):  # a helper that has ended
                found.setdefault(name, set()).add(one.uids().effective)
    return found


def test_doors_are_not_root_and_people_notice_nothing_and_all_end_with_their_supervisor(
    node: Node,
) -> None:
    users = owners(node)
    assert {name: users[name] for name in (*DOORS, "flower")} == {
        name: {USER.pw_uid} for name in (*DOORS, "flower")
    }
    assert users["worker"] == {0}
    assert "door runs as root" not in node.output
    people = People(node)
    scope = f"user:{uuid4()}"
    one, two = (f"{scope}/{uuid4().hex}" for _ in range(2))
    people.ask("POST", "/folder/create", volume="local", vfid=one)
    people.upload(one, "dir/file", b"text" * 1000)
    place = Path(people.ask("GET", "/folder/mount", volume="local", vfid=one)["path"])
    status = (place / "dir" / "file").stat()
    assert (status.st_uid, status.st_gid) == (USER.pw_uid, USER.pw_gid)
    job = people.ask("POST", "/v1/jobs", verb="clone", volume="local", source=one, target=two)["id"]
    assert people.done(job)["state"] == "succeeded"
    assert people.download(two, "dir/file") == b"text" * 1000
    people.upload(two, "dir/more", b"!")  # into a directory of root's worker
    people.ask(
        "POST", "/folder/file/rename", volume="local", vfid=two, relpath="dir/more", new_name="m"
    )
    sides = {"volume": "local", "source": one, "target": two, "on_conflict": "skip"}
    people.upload(two, "dir/file", b"another")
    job = people.ask("POST", "/v1/jobs", verb="transfer", **sides)["id"]
    assert people.done(job)["result"]["kept"] == 1
    assert "dir/file" in people.ask("GET", f"/v1/jobs/{job}/report"), "root's worker wrote it"
    job = people.ask(
        "POST", "/v1/jobs", verb="delete", volume="local", vfolder=two, keep_seconds=3600
    )["id"]
    assert people.done(job)["state"] == "succeeded"
    kept = people.ask("GET", f"/v1/volumes/local/scopes/{scope}/trash")["trash"]
    assert [note["vfolder"] for note in kept] == [two]
    metrics = requests.get(
        f"http://{node.settings.api.manager.internal_address}/metrics", timeout=60
    )
    assert "vfolder" in metrics.text
    end_with_their_supervisor(node)


def end_with_their_supervisor(node: Node) -> None:
    """The kernel drops the parent-death signal when a process changes its user; it is set again."""
    assert node.process is not None
    doors = [node.pid_of(["api.serve", name]) for name in DOORS]
    node.process.send_signal(signal.SIGKILL)
    node.process.wait(60)
    wait_for(lambda: gone(doors))


@pytest.mark.part("btrfs")
def test_limits_that_only_root_can_set_are_set_all_the_same(place: Path) -> None:
    more = f"""
[volume.held]
backend = "btrfs"
path = "btrfs/top"
[vfolder.worker]
quota-socket = "{place}/quota.sock"
"""
    make = ["mkfs.btrfs", "-q", "-m", "single", "-d", "single"]
    with mounted(place / "btrfs", make, size_bytes=256 << 20) as top:
        os.chown(top, USER.pw_uid, USER.pw_gid)
        with running(place, more, processes("manager", "client", "worker")) as node:
            people = People(node)
            scope = {"volume": "held", "qsid": f"user:{uuid4()}"}
            people.ask("POST", "/quota-scope", **scope, options={"limit_bytes": 4 << 20})
            assert people.ask("GET", "/quota-scope", **scope)["limit_bytes"] == 4 << 20
            vfolder = f"{scope['qsid']}/{uuid4().hex}"
            people.ask("POST", "/folder/create", volume="held", vfid=vfolder)
            people.upload(vfolder, "file", b"x" * (1 << 20), "held")
            with pytest.raises(AssertionError, match="quota"):
                people.upload(vfolder, "more", os.urandom(8 << 20), "held")
            place_of = people.ask("GET", "/folder/mount", volume="held", vfid=vfolder)["path"]
            assert os.listdir(place_of) == ["file"]


def as_user(settings: Settings) -> subprocess.Popen[bytes]:
    """A door that starts as `USER`, as with systemd."""
    user = [f"--reuid={USER.pw_uid}", f"--regid={USER.pw_gid}", "--clear-groups"]
    own = [sys.executable, "-m", "api.serve", "internal"]
    return subprocess.Popen(
        [*reachable(), "setpriv", *user, *own],
        cwd=ROOT,
        env=os.environ | {CONFIG_VARIABLE: settings.origin},
        stderr=subprocess.PIPE,
    )


def test_doors_and_workers_share_a_directory_in_any_order_of_start(place: Path) -> None:
    """A worker of root creates the directory of counters; a door that never was root uses it."""
    settings = settings_in(place)
    Path(settings.origin).chmod(0o644)
    (place / "state").mkdir()
    os.chown(place / "state", USER.pw_uid, USER.pw_gid)
    Path(settings.origin).write_text(
        Path(settings.origin).read_text() + '[vfolder]\nstate-dir = "state"\n'
    )
    first = (
        "from core import settings as s; from core.process import metrics_files as m; "
        "m.start_fresh(s.load(), 'worker')"
    )
    environment = os.environ | {CONFIG_VARIABLE: settings.origin}
    subprocess.run([sys.executable, "-c", first], cwd=ROOT, env=environment, check=True)
    with as_user(settings) as door:

        def lives() -> bool:
            assert door.poll() is None, door.stderr and door.stderr.read()
            with suppress(requests.RequestException):
                url = f"http://{settings.api.manager.internal_address}/livez"
                return requests.get(url, timeout=60).ok
            return False

        wait_for(lives)
        door.terminate()
    assert (place / "state/metrics/internal").stat().st_uid == USER.pw_uid
    os.chown(place / "state/metrics", 0, 0)  # as after a release that ran everything as root
    with as_user(settings) as door:
        _, output = door.communicate(timeout=120)
    assert "must belong to the user of this process" in output.decode()
    assert "Traceback" not in output.decode()


def said(settings: Settings, text: str, door: str = "internal") -> str:
    """The output of a door until it ends or prints a text."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as output:
        with os.fdopen(writer, "wb") as printed:
            process = preloaded.start(
                "door",
                ["api.serve", door],
                output=printed,
                environment=os.environ | {CONFIG_VARIABLE: settings.origin},
            )
        lines = []
        for line in output:
            lines.append(line)
            if text in line:
                break
        process.terminate()
        process.wait(120)
    return "".join(lines)


def test_a_door_of_roots_says_so(tmp_path: Path) -> None:
    assert said(settings_in(tmp_path), "door runs as root").count("door runs as root") == 1


def test_a_key_that_cannot_be_read_stops_the_start(place: Path) -> None:
    settings = settings_in(place)
    path = Path(settings.origin)
    for name in ("cert.pem", "key.pem"):
        (place / name).touch(mode=0o600)
    text = path.read_text().replace("[storage-proxy]", f'[storage-proxy]\nuser = "{USER.pw_name}"')
    tls = '[api.manager]\nssl-enabled = true\nssl-cert = "cert.pem"\nssl-privkey = "key.pem"'
    path.write_text(text.replace("[api.manager]", tls))
    assert "cert.pem" in said(settings, "nothing", "manager")


def test_a_directory_out_of_reach_stops_the_start(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    settings = settings_in(tmp_path)
    path = Path(settings.origin)
    path.write_text(
        path.read_text().replace("[storage-proxy]", f'[storage-proxy]\nuser = "{USER.pw_name}"')
    )
    assert "state-dir" in said(settings, "nothing")
