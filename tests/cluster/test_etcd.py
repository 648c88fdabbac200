"""A real etcd: its settings of Redis are used, and it may be absent."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from etcd3gw.client import Etcd3Client

from core.errors import NotYetThere, Unavailable
from core.process import end_with_parent
from core.settings import CONFIG_VARIABLE, Etcd, Settings, load
from core.settings.reference import EtcdTable
from tests.support import preloaded
from tests.support.node import wait_for
from tests.support.ports import free_port

FILE = """
[etcd]
namespace = "local"
addr = {{ host = "127.0.0.1", port = {port} }}
[storage-proxy]
node-id = "i-node 1"
secret = "s"
session-expire = "1d"
[api.manager]
secret = "s"
{more}
"""


@contextmanager
def running_etcd(directory: Path) -> Iterator[int]:
    port, peer = free_port(), free_port()
    urls = [f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"]
    with (directory / "etcd.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *("etcd", "--data-dir", str(directory / "etcd"), "--name", "one"),
                *("--listen-client-urls", urls[0], "--advertise-client-urls", urls[0]),
                *("--listen-peer-urls", urls[1], "--initial-advertise-peer-urls", urls[1]),
                *("--initial-cluster", f"one={urls[1]}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - a prctl only
        )
    try:
        wait_for(lambda: healthy(urls[0]), failure=(directory / "etcd.log").read_text)
        yield port
    finally:
        process.terminate()
        process.wait(120)


def healthy(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=10).ok
    except requests.RequestException:
        return False


def settings_of(directory: Path, port: int, more: str = "") -> Settings:
    path = directory / "storage-proxy.toml"
    path.write_text(FILE.format(port=port, more=more))
    return load(path, {})


@pytest.mark.part("etcd")
def test_redis_comes_from_etcd(tmp_path: Path) -> None:
    with running_etcd(tmp_path) as port:
        client = Etcd3Client("127.0.0.1", port)
        for key, value in {
            "config/redis/addr": "10.0.0.1:6379",
            "config/redis/password": "p@ss/word",
            "config/redis/redis_helper_config/socket_timeout": "7.5",
            "config/redis/override_configs/stream/addr": "10.0.0.2:6379",
            "config/redis/override_configs/stream/use_tls": "true",
            "nodes/storage/i-node%201/config/redis/addr": "10.0.0.3:6379",
        }.items():
            client.put(f"/sorna/local/{key}", value)
        redis = settings_of(tmp_path, port).vfolder.redis
        assert redis.target().plain_url == "redis://:p%40ss%2Fword@10.0.0.3:6379"
        assert redis.target("stream").plain_url == "rediss://10.0.0.2:6379"
        assert redis.answer_timeout == 7.5
        own = settings_of(tmp_path, port, '[vfolder.redis]\nurl = "redis://mine:1"')
        assert own.redis_url == "redis://mine:1", "the file has precedence"


@pytest.mark.part("etcd")
def test_a_key_is_written_read_and_removed(tmp_path: Path) -> None:
    with running_etcd(tmp_path) as port:
        dead = free_port()
        etcd = Etcd(EtcdTable(addr=f"127.0.0.1:{dead},127.0.0.1:{port}"), "n")
        etcd.put("a/b", {"c": "1", "d/e%2F": "2"}, 60)
        assert etcd.tree("a") == {"b": {"c": "1", "d": {"e/": "2"}}}
        etcd.remove("a/b")
        assert etcd.tree("a") == {}
        etcd.ask()


def test_without_an_answer_nothing_starts_unless_the_file_says_so(tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(NotYetThere, match="No member of etcd answers"):
        settings_of(tmp_path, port, '[vfolder.redis]\npassword = "of the embedded store"')
    assert settings_of(tmp_path, port, "[vfolder.etcd]\nrequired = false").store_is_embedded
    assert settings_of(tmp_path, port, '[vfolder.redis]\naddr = "mine:1"').redis_url
    with pytest.raises(Unavailable):
        Etcd(EtcdTable(addr=f"127.0.0.1:{port}"), "n").ask()


@pytest.mark.parametrize("process", ["api.serve manager", "workers.serve worker"])
def test_a_start_without_an_answer_is_tried_again(tmp_path: Path, process: str) -> None:
    """Status 1, not that of a wrong configuration: systemd and the supervisor start it again."""
    path = tmp_path / "storage-proxy.toml"
    path.write_text(FILE.format(port=free_port(), more=""))
    done = preloaded.run(process.split(), os.environ | {CONFIG_VARIABLE: str(path)}, 120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("No member of etcd answers ([etcd] addr). The Redis of the ")
    assert done.stderr.count("\n") == 1


def test_the_output_of_a_command_is_its_result_alone(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, free_port(), "[vfolder.etcd]\nrequired = false")
    environment = os.environ | {CONFIG_VARIABLE: settings.origin}
    get = ["api.cli", "config", "get"]
    done = preloaded.run([*get, "vfolder.redis.port"], environment, 120)
    assert (done.returncode, done.stdout) == (0, "16379\n")
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["etcd not read"]


def test_commands_that_need_no_redis_do_not_ask_etcd(tmp_path: Path) -> None:
    path = tmp_path / "storage-proxy.toml"
    path.write_text(FILE.format(port=free_port(), more=""))
    environment = os.environ | {CONFIG_VARIABLE: str(path)}
    get = ["api.cli", "config", "get"]
    done = preloaded.run([*get, "storage-proxy.node-id"], environment, 120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "i-node 1\n", "")
    away = preloaded.run([*get, "vfolder.redis.port"], environment, 120)
    assert (away.returncode, away.stdout) == (1, "")
    assert "No member of etcd answers" in away.stderr
    jobs = preloaded.run(["api.cli", "jobs", "list"], environment, 120)
    assert "etcd" not in jobs.stderr, "the door is asked, and it is away"
