"""Where credentials come from, and how an endpoint is connected to. Needs no storage."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from backends.systems.s3 import Bucket, ObjectStorageDenied, S3Endpoint
from backends.systems.s3.direct import host_of
from backends.systems.s3.endpoint import AWS_RULES, COMPATIBLE_RULES, connection

SECRET = "secret-from-far"
END = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
ROLE = "arn:aws:iam::123456789012:role/storage"


class _Cloud(BaseHTTPRequestHandler):
    """The metadata service of an instance (IMDSv2) and AWS's STS."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_PUT(self) -> None:
        """Give the token that further requests need."""
        assert self.path == "/latest/api/token"
        self._answer(b"a-token")

    def do_GET(self) -> None:
        """Name the role of the instance, and give its credentials."""
        assert self.headers["X-aws-ec2-metadata-token"] == "a-token"
        if self.path.endswith("/security-credentials/"):
            self._answer(b"instance-role")
            return
        found = {
            "Code": "Success",
            "AccessKeyId": "INSTANCEKEY",
            "SecretAccessKey": SECRET,
            "Token": "instance-token",
            "Expiration": END,
            "LastUpdated": END,
        }
        self._answer(json.dumps(found).encode())

    def do_POST(self) -> None:
        """Let the caller assume a role."""
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        assert asked["Action"] == ["AssumeRole"]
        assert asked["RoleArn"] == [ROLE]
        self._answer(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials>"
            f"<AccessKeyId>ROLEKEY</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>"
            f"<SessionToken>role-token</SessionToken><Expiration>{END}</Expiration>"
            "</Credentials></AssumeRoleResult></AssumeRoleResponse>".encode()
        )

    def _answer(self, body: bytes) -> None:
        self.send_response_only(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "60")
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The address of both services; the environment has no other credentials."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Cloud)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def signed_with(endpoint: S3Endpoint) -> tuple[str, str]:
    """Return the access key and the session token that sign a URL."""
    found = parse_qs(urlsplit(Bucket(endpoint, "b").presigned_get("k", 60)).query)
    return found["X-Amz-Credential"][0].partition("/")[0], found["X-Amz-Security-Token"][0]


def test_the_instance_gives_credentials(cloud: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", cloud)
    endpoint = S3Endpoint("http://s3.example.org:1")
    assert signed_with(endpoint) == ("INSTANCEKEY", "instance-token")
    assert SECRET not in repr(connection(endpoint))


def test_a_profile_assumes_a_role(
    cloud: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text(
        f"[profile base]\naws_access_key_id=a\naws_secret_access_key=b\n"
        f"[profile storage]\nrole_arn={ROLE}\nsource_profile=base\n"
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", cloud)
    endpoint = S3Endpoint("http://s3.example.org:2", credentials_profile="storage")
    assert signed_with(endpoint) == ("ROLEKEY", "role-token")


def test_a_session_token_is_sent() -> None:
    endpoint = S3Endpoint(
        "http://s3.example.org:3", access_key="A", secret_key="b", session_token="c"
    )
    assert signed_with(endpoint) == ("A", "c")


def test_missing_credentials_are_said(cloud: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ObjectStorageDenied, match="credentials"):
        Bucket(S3Endpoint("http://s3.example.org:4"), "b").presigned_get("k", 60)
    with pytest.raises(ObjectStorageDenied, match="profile"):
        Bucket(S3Endpoint(cloud, credentials_profile="no-such"), "b").check()


def test_urls_follow_the_rules_of_the_endpoint() -> None:
    keys = {"access_key": "a", "secret_key": "b"}
    aws = S3Endpoint(None, "eu-central-1", **keys)
    assert aws.rules == AWS_RULES
    url = Bucket(aws, "bucket").presigned_get("k", 60)
    assert url.startswith("https://bucket.s3.eu-central-1.amazonaws.com/k?")
    named = S3Endpoint("https://s3.eu-west-1.amazonaws.com", "eu-west-1", **keys)
    assert named.rules == AWS_RULES
    other = S3Endpoint("http://s3.example.org:9000", **keys)
    assert other.rules == COMPATIBLE_RULES
    url = Bucket(other, "bucket").presigned_get("k", 60)
    assert url.startswith("http://s3.example.org:9000/bucket/k?X-Amz-Algorithm=AWS4-HMAC-SHA256")
    hosts = S3Endpoint("http://s3.example.org:9000", addressing="virtual", **keys)
    url = Bucket(hosts, "bucket").presigned_get("k", 60)
    assert url.startswith("http://bucket.s3.example.org:9000/k?")


def test_settings_of_the_connection_arrive(tmp_path: Path) -> None:
    endpoint = S3Endpoint(
        "https://s3.example.org",
        access_key="a",
        secret_key="b",
        ca_file=str(tmp_path / "ca.pem"),
        client_certificate=("cert.pem", "key.pem"),
        proxy="http://proxy.example.org:3128",
        connect_seconds=1.5,
        read_seconds=2.5,
        attempts=7,
        connections=3,
    )
    config = connection(endpoint).s3.meta.config
    assert config.proxies == dict.fromkeys(("http", "https"), "http://proxy.example.org:3128")
    assert (config.connect_timeout, config.read_timeout) == (1.5, 2.5)
    assert config.retries == {"mode": "adaptive", "total_max_attempts": 7}
    assert config.max_pool_connections == 3
    assert config.client_cert == ("cert.pem", "key.pem")
    assert connection(endpoint) is connection(S3Endpoint(**_fields(endpoint)))


def _fields(endpoint: S3Endpoint) -> dict[str, Any]:
    return {name: getattr(endpoint, name) for name in endpoint.__dataclass_fields__}


def test_a_forked_process_has_its_own_connections() -> None:
    script = (
        "import os\n"
        "from backends.systems.s3.endpoint import S3Endpoint, connection\n"
        "one = S3Endpoint('http://127.0.0.1:1', access_key='a', secret_key='b')\n"
        "first = connection(one); first.s3\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    second = connection(one)\n"
        "    os._exit(second is first or second.s3 is first.s3)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert connection(one) is first\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_processes_without_a_bucket_do_not_load_boto3() -> None:
    script = "import sys, api.app, workers.worker, workers.tasks; sys.exit('boto3' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://s3.example", "s3.example"),
        ("https://S3.example:443/x", "s3.example"),
        ("http://s3.example:443", "s3.example:443"),
        ("http://10.0.0.1:9000", "10.0.0.1:9000"),
        ("http://[2001:db8::1]:9000", "[2001:db8::1]:9000"),
        ("http://[2001:db8::1]", "[2001:db8::1]"),
    ],
)
def test_the_host_of_a_request_is_that_of_the_url(url: str, host: str) -> None:
    assert host_of(url) == host
