"""An issuer of tokens: its keys, tokens of every form, and a server of its keys that can fail."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NAME = "https://id.example/realms/lab"
AUDIENCE = "vfolder"
#: How long a token is valid (seconds): longer than a file of tests takes on a slow machine.
TOKEN_SECONDS = 3600
#: Longest wait of a test for what a healthy machine does at once.
PATIENCE_SECONDS = 60.0

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_MAKERS: dict[str, Callable[[], PrivateKey]] = {
    "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


class SigningKey:
    """A private key with its `kid`."""

    def __init__(
        self, kid: str, algorithm: str = "ES256", private: PrivateKey | None = None
    ) -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.private = private or _MAKERS[algorithm]()

    def jwk(self, **changed: Any) -> dict[str, Any]:
        """The public key as an entry of a JWK Set; a changed member that is None is left out."""
        form = jwt.get_algorithm_by_name(self.algorithm)
        members = form.to_jwk(self.private.public_key(), as_dict=True)  # type: ignore[call-overload]
        members.pop("key_ops", None)
        entry = {**members, "kid": self.kid, "use": "sig", "alg": self.algorithm, **changed}
        return {key: value for key, value in entry.items() if value is not None}

    def pem(self) -> bytes:
        """The public key as anybody can have it."""
        return self.private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )

    def token(self, header: dict[str, Any] | None = None, **changed: Any) -> str:
        """A token that is valid, but for what is changed."""
        headers = {"kid": self.kid, **(header or {})}
        return jwt.encode(claims(**changed), self.private, self.algorithm, headers=headers)


def claims(**changed: Any) -> dict[str, Any]:
    """The claims of a valid token, but for what is changed; None leaves one out."""
    now = int(time.time())
    usual = {"iss": NAME, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + TOKEN_SECONDS}
    return {key: value for key, value in {**usual, **changed}.items() if value is not None}


def by_parts(header: Any, payload: Any, signature: bytes = b"") -> str:
    """A token of any parts."""
    return ".".join(_encoded(part) for part in (header, payload, signature))


def _encoded(part: Any) -> str:
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


class KeyServer:
    """The server of an issuer's keys: it answers what `answer` says, and counts its requests."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.requests = 0
        self.answer: Callable[[BaseHTTPRequestHandler], None] = self.well
        #: While it is not set, every answer waits.
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.asked = threading.Event()
        self.url = ""

    def well(self, request: BaseHTTPRequestHandler) -> None:
        send(request, json.dumps({"keys": self.keys}).encode())


def send(request: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    request.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(body)


@contextmanager
def key_server() -> Iterator[KeyServer]:
    """A key server on loopback, until the end of the block."""
    state = KeyServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests += 1
            state.asked.set()
            state.goes_on.wait(PATIENCE_SECONDS)
            state.answer(self)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.do_GET()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                """The client has hung up, as it may."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/keys"
    try:
        yield state
    finally:
        state.goes_on.set()
        server.shutdown()
        server.server_close()
        thread.join()
