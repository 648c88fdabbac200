"""The signature of requests to another site's manager, as its published API says."""

import hashlib
import hmac

import requests

from backends.systems.registries.reservoir import Signature


def test_the_signature_is_that_of_the_published_api() -> None:
    request = requests.Request(
        "GET", "https://manager.example:8443/vfs-storages/a/files?x=1", json={"directory": "m/main"}
    ).prepare()
    Signature("ACCESS", "secret", "v9.20250722")(request)
    date = request.headers["Date"]
    host = "manager.example:8443"
    text = (
        f"GET\n/vfs-storages/a/files?x=1\n{date}\nhost:{host}\ncontent-type:application/json\n"
        f"x-backendai-version:v9.20250722\n{hashlib.sha256(b'').hexdigest()}"
    )
    key = b"secret"
    for part in (date[:10].replace("-", ""), host):
        key = hmac.new(key, part.encode(), "sha256").digest()
    expected = hmac.new(key, text.encode(), "sha256").hexdigest()
    assert request.headers["Authorization"] == (
        f"BackendAI signMethod=HMAC-SHA256, credential=ACCESS:{expected}"
    )
    assert request.headers["X-BackendAI-Version"] == "v9.20250722"
    assert request.headers["Content-Type"] == "application/json"
