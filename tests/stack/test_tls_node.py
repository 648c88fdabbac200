"""A node with TLS under its supervisor: probes, greeting, commands and the demonstration use it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.process import check_certificate
from core.settings import CONFIG_VARIABLE, load
from deploy.procfile import PROCFILE
from tests.fakes.serving import certificate
from tests.support.doors import settings_in
from tests.support.node import ROOT, Node, wait_for

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
    made = Node(tmp_path_factory.mktemp("tls") / "node", PROCFILE.read_text("utf-8"))
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
