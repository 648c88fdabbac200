"""Connections to the store: an override per role, Sentinels with a failover, TLS."""

import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from kombu.connection import Connection
from redis.exceptions import RedisError

from api.jobs import check_broker
from core.process import end_with_parent
from core.redis import Database, broker_url, celery_options, connect
from core.settings import load
from deploy.embedded_store import find_server
from tests.support.doors import settings_in
from tests.support.node import wait_for
from tests.support.ports import free_port
from tests.support.valkey import Valkey, running_valkey

#: A master that pauses for less (milliseconds), as on an overloaded machine, is not down.
DOWN_MS = 5000


def test_a_role_connects_where_its_override_says(tmp_path: Path, valkey: Valkey) -> None:
    (tmp_path / "bus").mkdir()
    with running_valkey(tmp_path / "bus") as bus:
        more = f'[vfolder.redis.override-configs.stream]\nurl = "{bus.url}"'
        settings = settings_in(tmp_path, valkey.url, more)
        for database, server in ((Database.EVENTS, bus), (Database.JOBS, valkey)):
            with connect(settings, database) as client:
                info = client.info("server")
                assert info["tcp_port"] == server.port
                assert client.get_connection_kwargs()["db"] == int(database)


@contextmanager
def sentinel(directory: Path, master: Valkey, secret: str) -> Iterator[int]:
    """Run a Sentinel that watches one master and has a password of its own; give its port."""
    port = free_port()
    config = directory / "sentinel.conf"
    config.write_text(
        f'port {port}\nbind 127.0.0.1\nrequirepass "{secret}"\ndir "{directory}"\n'
        f"sentinel monitor jobs 127.0.0.1 {master.port} 1\n"
        f"sentinel auth-pass jobs {master.password}\n"
        f"sentinel down-after-milliseconds jobs {DOWN_MS}\n"
        "sentinel failover-timeout jobs 2000\n"
    )
    with (directory / "sentinel.log").open("wb") as log:
        process = subprocess.Popen(
            [find_server(), config, "--sentinel"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - a prctl only
        )
    try:
        yield port
    finally:
        process.terminate()
        process.wait(120)


def test_sentinels_find_the_master_also_after_a_failover(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    with running_valkey(tmp_path / "one") as one, running_valkey(tmp_path / "two") as two:
        with two.client() as replica:
            replica.config_set("masterauth", one.password)
            replica.config_set("requirepass", one.password)
        two.password = one.password
        with one.client() as master, two.client() as replica:
            master.config_set("masterauth", one.password)
            replica.replicaof("127.0.0.1", one.port)
            wait_for(lambda: replica.info("replication")["master_link_status"] == "up")
        with sentinel(tmp_path / "three", one, "asking") as port:
            settings_in(tmp_path, "")
            text = (tmp_path / "storage-proxy.toml").read_text()
            text = text.replace(
                'url = ""',
                f'sentinel = "127.0.0.1:{port}"\nservice-name = "jobs"\n'
                f'sentinel-password = "asking"\npassword = "{one.password}"',
            )
            (tmp_path / "storage-proxy.toml").write_text(text)
            settings = load(tmp_path / "storage-proxy.toml", {})
            with connect(settings, Database.JOBS) as client:

                def writes() -> int:
                    try:
                        client.set("k", "v")
                        return int(client.info("server")["tcp_port"])
                    except RedisError:
                        return 0

                assert wait_for(writes) == one.port
                check_broker(settings)
                wait_for(lambda: b"+slave" in (tmp_path / "three" / "sentinel.log").read_bytes())
                one.kill()
                wait_for(
                    lambda: writes() == two.port, 180
                )  # an overloaded Sentinel does nothing for 30 s
                check_broker(settings)


@contextmanager
def tls_in_front(plain_port: int, directory: Path) -> Iterator[tuple[int, Path]]:
    """Run a TLS listener in front of a plain server; give its port and its certificate."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-addext", "basicConstraints=critical,CA:TRUE"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
                inner = context.wrap_socket(raw, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            outer = socket.create_connection(("127.0.0.1", plain_port))
            for pair in ((inner, outer), (outer, inner)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    with closing(listener):
        yield listener.getsockname()[1], certificate
        listener.shutdown(socket.SHUT_RDWR)


def pump(source: socket.socket, target: socket.socket) -> None:
    with closing(source), closing(target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            return


def test_tls_proves_the_server(tmp_path: Path, valkey: Valkey) -> None:
    with tls_in_front(valkey.port, tmp_path) as (port, certificate):
        url = f"rediss://:{valkey.password}@127.0.0.1:{port}"
        trusting = settings_in(tmp_path, url, "")
        with connect(trusting, Database.JOBS) as client, pytest.raises(RedisError):
            client.ping()
        known = f'[vfolder.redis]\nurl = "{url}"\ntls-ca = "{certificate}"'
        careless = f'[vfolder.redis]\nurl = "{url}"\ntls-skip-verify = true'
        for table in (known, careless):
            path = tmp_path / "storage-proxy.toml"
            settings_in(tmp_path, url)
            path.write_text(path.read_text().partition("[vfolder.redis]")[0] + table)
            settings = load(path, {})
            with connect(settings, Database.JOBS) as client:
                assert client.ping()
            with Connection(
                broker_url(settings), transport_options=celery_options(settings)
            ) as connection:
                connection.ensure_connection(max_retries=1, timeout=60)
