"""A node with TLS under its supervisor: probes, greeting, commands and the demonstration use it."""

import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from core.errors import ConfigurationError
from core.process import check_certificate
from core.process.pinned_tls import PinnedAdapter
from core.settings import CONFIG_VARIABLE, load
from simulators.serving import certificate
from tests.support.doors import settings_in
from tests.support.node import ROOT, Node, processes, wait_for

AUTHORITY = "openssl req -x509 -newkey rsa:2048 -nodes -days 2"
TLS = 'ssl-enabled = true\nssl-cert = "{}"\nssl-privkey = "{}"\n'


def with_tls(
    config: Path, cert: Path | str, key: Path | str, doors: str = "client manager"
) -> None:
    text = config.read_text()
    for door in doors.split():
        text = text.replace(f"[api.{door}]\n", f"[api.{door}]\n{TLS.format(cert, key)}")
    config.write_text(text)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    made = Node(
        tmp_path_factory.mktemp("tls") / "node",
        processes("manager", "client", "internal", "worker"),
    )
    with_tls(made.config, *certificate("door"))
    made.start()
    made.wait_until_it_says("The node runs.")
    yield made
    made.stop()


def run(node: Node, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command],
        cwd=ROOT,
        env=os.environ | {CONFIG_VARIABLE: str(node.config), "no_proxy": "*"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_prints_addresses_that_work(node: Node) -> None:
    assert "not answering yet" not in node.output
    for door, port in (("manager", node.ports.manager), ("client", node.ports.client)):
        assert re.search(rf"{door} door +https://127.0.0.1:{port}/", node.output)
    assert f"internal door  http://127.0.0.1:{node.ports.internal}/" in node.output
    curl = next(line for line in node.greeting() if line.startswith("curl"))
    done = wait_for(lambda: (found := run(node, curl)).returncode == 0 and found)
    assert '"name":"local"' in done.stdout


def test_no_probe_speaks_without_tls(node: Node) -> None:
    assert "request refused" not in node.output
    assert "ssl" not in node.output.lower().replace("openssl", "")


def test_the_command_line_finds_it(node: Node) -> None:
    done = wait_for(lambda: (one := run(node, f"{sys.executable} -m api.cli nodes")).stdout and one)
    assert done.returncode == 0, done.stderr
    assert "local" in done.stdout


def test_the_demonstration_runs_on_it(node: Node, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(1000))
    command = f"{sys.executable} -m deploy.demo --config {node.config} --tree {tmp_path}"
    done = run(node, command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"using the node that runs at 127.0.0.1:{node.ports.manager}" in done.stdout
    assert "Warning" not in done.stderr


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("absent.pem", "key", "[api.client] ssl-cert: cannot read "),
        ("cert", "absent.key", "[api.client] ssl-privkey: cannot read "),
        ("local", "key", "Is a directory"),
        ("text", "key", "no certificate or no key in PEM form"),
        ("cert", "other", "does not belong to the certificate"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(
    tmp_path: Path, cert: str, key: str, words: str
) -> None:
    config = Path(settings_in(tmp_path).origin)
    for name, made in zip(("cert", "key"), certificate("right"), strict=True):
        (tmp_path / name).write_bytes(made.read_bytes())
    (tmp_path / "other").write_bytes(certificate("other")[1].read_bytes())
    (tmp_path / "text").write_text("no certificate")
    with_tls(config, cert, key, "client")
    with pytest.raises(ConfigurationError) as refused:
        check_certificate("client", load(config, {}))
    assert words in refused.value.detail
    check_certificate("manager", load(config, {}))


def test_tls_without_a_certificate_is_refused(tmp_path: Path) -> None:
    config = Path(settings_in(tmp_path).origin)
    config.write_text(
        config.read_text().replace("[api.client]", "[api.client]\nssl-enabled = true")
    )
    with pytest.raises(ConfigurationError, match="ssl-enabled needs ssl-cert"):
        load(config, {})


def signed(directory: Path, name: str, *, by: str = "") -> tuple[Path, Path]:
    """A certificate and its key; without `by` it signs itself."""
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    signer = ["-CA", directory / f"{by}.pem", "-CAkey", directory / f"{by}.key"] if by else []
    names = ["-keyout", key, "-out", cert, "-subj", f"/CN={name}"]
    subprocess.run([*AUTHORITY.split(), *names, *signer], check=True, capture_output=True)
    return cert, key


@contextmanager
def speaking_tls(cert: Path, key: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_another_certificate_of_the_same_authority_is_not_trusted(tmp_path: Path) -> None:
    authority, _ = signed(tmp_path, "authority")
    door, door_key = signed(tmp_path, "door", by="authority")
    other, other_key = signed(tmp_path, "other", by="authority")
    door.write_text(door.read_text() + authority.read_text())
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", PinnedAdapter(door))
        with speaking_tls(door, door_key) as url:
            assert session.head(url, timeout=60).status_code == 200
        with speaking_tls(other, other_key) as url, pytest.raises(requests.exceptions.SSLError):
            session.head(url, timeout=60)
