"""The example for nginx, with its TLS, in front of a real node carries what the API promises."""

import base64
import json
import os
import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import requests

from api.jobs import WAIT_MAX_SECONDS
from api.server.settings import for_door
from core.process import end_with_parent
from core.settings import Settings
from tests.support.node import ROOT, Node, wait_for
from tests.support.ports import free_port

pytestmark = pytest.mark.part("nginx")

EXAMPLE = (ROOT / "deploy" / "nginx.conf").read_text("utf-8")
HOST = "localhost"
TUS = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
MIB = 1 << 20


@dataclass
class Proxied:
    """Both doors behind nginx: their URLs, and sessions that trust its certificate."""

    client_url: str
    manager_url: str
    certificate: Path
    secret: str

    def session(self, *, secret: bool) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.certificate)
        if secret:
            session.headers["X-BackendAI-Storage-Auth-Token"] = self.secret
        return session

    def manager(self, method: str, path: str, **options: Any) -> requests.Response:
        with self.session(secret=True) as session:
            return session.request(method, self.manager_url + path, timeout=60, **options)

    def client(self, method: str, path: str, **options: Any) -> requests.Response:
        with self.session(secret=False) as session:
            return session.request(method, self.client_url + path, timeout=60, **options)

    def vfolder(self) -> str:
        """A new vfolder on the volume of the node."""
        scope = f"user:{uuid4()}"
        body = {"volume": "local", "vfid": f"{scope}/{uuid4().hex}"}
        self.manager("POST", "/quota-scope", json={"volume": "local", "qsid": scope})
        assert self.manager("POST", "/folder/create", json=body).ok
        return body["vfid"]

    def upload_url(self, vfolder: str, name: str, size: int) -> str:
        ticket = {"volume": "local", "vfid": vfolder, "relpath": name, "size": size}
        token = self.manager("POST", "/folder/file/upload", json=ticket).json()["token"]
        return f"/upload?token={token}"


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of its own authority for `localhost`, and its key."""
    file, key = directory / "cert.pem", directory / "key.pem"
    words = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={HOST}"
    more = ["-addext", f"subjectAltName=DNS:{HOST}", "-keyout", str(key), "-out", str(file)]
    subprocess.run([*words.split(), *more], check=True, capture_output=True)
    return file, key


def written(directory: Path, settings: Settings) -> tuple[Path, tuple[int, int]]:
    """The example with the addresses and the certificate of this test; nothing else differs."""
    file, key = certificate(directory)
    ports = free_port(), free_port()
    places = {
        "127.0.0.1:6022": str(settings.api.manager.address),
        "127.0.0.1:6021": str(settings.api.client.address),
        "listen 8443 ssl": f"listen 127.0.0.1:{ports[0]} ssl",
        "listen 8444 ssl": f"listen 127.0.0.1:{ports[1]} ssl",
        "/etc/ssl/storage.example.org.pem": str(file),
        "/etc/ssl/storage.example.org.key": str(key),
    }
    text = EXAMPLE
    for example, own in places.items():
        assert example in text
        text = text.replace(example, own)
    conf = directory / "nginx.conf"
    conf.write_text(
        f"daemon off; master_process off; pid {directory}/pid; error_log {directory}/error;\n"
        f"events {{}}\nhttp {{ access_log off; client_body_temp_path {directory}/body;\n"
        f"proxy_temp_path {directory}/proxy; {text}}}\n",
        "utf-8",
    )
    return conf, ports


@pytest.fixture(scope="module")
def proxied(stack: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    directory = tmp_path_factory.mktemp("nginx")
    conf, (client, manager) = written(directory, stack.settings)
    process = subprocess.Popen(
        ["nginx", "-p", str(directory), "-c", str(conf)],
        env=os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"},
        preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - a prctl only
    )
    urls = f"https://{HOST}:{client}", f"https://{HOST}:{manager}"
    both = Proxied(*urls, directory / "cert.pem", stack.settings.api.manager.secret)
    try:
        wait_for(lambda: answers(both), failure=(directory / "error").read_text)
        yield both
    finally:
        process.terminate()
        process.wait(timeout=60)


def answers(both: Proxied) -> bool:
    try:
        return both.client("GET", "/").ok
    except requests.RequestException:
        return False


def test_both_doors_answer_with_their_own_errors(proxied: Proxied) -> None:
    volumes = proxied.manager("GET", "/volumes").json()["volumes"]
    assert [volume["name"] for volume in volumes] == ["local"]
    with proxied.session(secret=False) as stranger:
        assert stranger.get(f"{proxied.manager_url}/volumes", timeout=60).status_code == 403
    refused = proxied.client("GET", "/download", params={"token": "x"})
    assert refused.status_code == 400
    assert refused.headers["Content-Type"] == "application/problem+json"


def test_metadata_of_ten_mebibytes_is_stored(proxied: Proxied) -> None:
    vfolder, payload = proxied.vfolder(), os.urandom(10 * MIB)
    body = {"volume": "local", "vfid": vfolder, "payload": base64.b64encode(payload).decode()}
    stored = proxied.manager("POST", "/folder/metadata", json=body)
    assert stored.status_code == 200, stored.text[:300]
    found = proxied.manager("GET", "/folder/metadata", json={"volume": "local", "vfid": vfolder})
    assert base64.b64decode(found.json()["payload"]) == payload


def test_more_than_that_is_refused_by_the_door(proxied: Proxied) -> None:
    body = {"volume": "local", "vfid": proxied.vfolder(), "payload": "A" * (15 * MIB)}
    refused = proxied.manager("POST", "/folder/metadata", json=body)
    assert refused.status_code == 413
    assert refused.headers["Content-Type"] == "application/problem+json"


def test_an_upload_larger_than_every_buffer(proxied: Proxied) -> None:
    vfolder, content = proxied.vfolder(), os.urandom(96 * MIB)
    url = proxied.upload_url(vfolder, "large.bin", len(content))
    sent = proxied.client("PATCH", url, data=content, headers={**TUS, "Upload-Offset": "0"})
    assert sent.status_code == 204, sent.text
    ticket = {"volume": "local", "vfid": vfolder, "relpath": "large.bin"}
    token = proxied.manager("POST", "/folder/file/download", json=ticket).json()["token"]
    whole = proxied.client("GET", "/download", params={"token": token})
    assert whole.content == content
    assert not whole.headers["ETag"].startswith("W/")
    part = {"Range": f"bytes={len(content) - 5}-", "If-Range": whole.headers["ETag"]}
    end = proxied.client("GET", "/download", params={"token": token}, headers=part)
    assert (end.status_code, end.content) == (206, content[-5:])


def test_bytes_of_an_upload_arrive_before_its_end(proxied: Proxied, stack: Node) -> None:
    """They are on the volume while the body is sent: nginx keeps nothing back."""
    url = proxied.upload_url(proxied.vfolder(), "slow.bin", 8 * MIB)
    volumes = stack.directory / "volumes"

    def arrived() -> bool:
        sizes = [path.stat().st_size for path in volumes.rglob("*") if path.is_file()]
        return 3 * MIB in sizes

    with sending(proxied, url, 8 * MIB) as connection:
        connection.sendall(bytes(3 * MIB))
        wait_for(arrived, failure="nginx keeps bytes back")
        connection.shutdown(socket.SHUT_RDWR)

    def kept() -> bool:
        head = proxied.client("HEAD", url, headers={"Tus-Resumable": "1.0.0"})
        return head.headers.get("Upload-Offset") == str(3 * MIB)

    wait_for(kept, failure="the door has not got what was sent")


def sending(proxied: Proxied, url: str, size: int) -> ssl.SSLSocket:
    """A connection whose PATCH has begun; its body is still to be sent."""
    where = urlsplit(proxied.client_url)
    raw = socket.create_connection((where.hostname or "", where.port or 0), timeout=60)
    trusting = ssl.create_default_context(cafile=str(proxied.certificate))
    connection = trusting.wrap_socket(raw, server_hostname=HOST)
    headers = {**TUS, "Upload-Offset": "0", "Host": where.netloc, "Content-Length": str(size)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.sendall(f"PATCH {url} HTTP/1.1\r\n{lines}\r\n".encode())
    return connection


@pytest.fixture
def waiting_job(proxied: Proxied) -> Iterator[str]:
    """A job that waits, because its volume is paused for the time of the test."""
    vfolder = proxied.vfolder()
    assert proxied.manager("POST", "/v1/volumes/local/pause").ok
    try:
        request = {"verb": "usage", "volume": "local", "vfolder": vfolder}
        yield proxied.manager("POST", "/v1/jobs", json=request).json()["id"]
    finally:
        assert proxied.manager("POST", "/v1/volumes/local/resume").ok


def test_events_arrive_as_they_happen(proxied: Proxied, waiting_job: str) -> None:
    states = []
    with (
        proxied.session(secret=True) as session,
        session.get(
            f"{proxied.manager_url}/v1/jobs/{waiting_job}/events", stream=True, timeout=60
        ) as stream,
    ):
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        for line in stream.iter_lines(chunk_size=1, decode_unicode=True):
            if not line.startswith("data:"):
                continue
            states.append(json.loads(line.removeprefix("data:"))["state"])
            if states == ["queued"]:  # it came while the job waits
                assert proxied.manager("POST", "/v1/volumes/local/resume").ok
    assert (states[0], states[-1]) == ("queued", "succeeded")


def test_a_caller_may_wait_for_a_job(proxied: Proxied, waiting_job: str) -> None:
    path, waits = f"/v1/jobs/{waiting_job}", {"Prefer": "wait=1"}
    waited = proxied.manager("GET", path, headers=waits)
    assert waited.headers["Preference-Applied"] == "wait=1"
    assert waited.json()["done"] is False


def seconds_of(directive: str) -> list[int]:
    found = re.findall(rf"^ *{directive} (\d+)(s|h);$", EXAMPLE, re.MULTILINE)
    return [int(number) * {"s": 1, "h": 3600}[unit] for number, unit in found]


def test_nginx_waits_longer_than_the_longest_answer() -> None:
    """A time limit of nginx at the longest `Prefer: wait` would end it by 504."""
    assert min(seconds_of("proxy_read_timeout")) > WAIT_MAX_SECONDS


def test_nginx_forgets_a_connection_before_the_door_closes_it(stack: Node) -> None:
    """Else a request that must not be repeated meets a closing connection: 502."""
    assert len(seconds_of("keepalive_timeout")) == EXAMPLE.count("\nupstream ")
    kept = [for_door(door, stack.settings)["keepalive"] for door in ("manager", "client")]
    assert max(seconds_of("keepalive_timeout")) < min(kept)
