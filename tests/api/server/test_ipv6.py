"""Doors at addresses of IPv6."""

from pathlib import Path

import pytest

from core.settings import load
from tests.support.doors import running_door, settings_in
from tests.support.valkey import Valkey


@pytest.mark.parametrize("door", ["client", "manager", "internal"])
def test_a_door_at_an_address_of_ipv6(tmp_path: Path, valkey: Valkey, door: str) -> None:
    config = Path(settings_in(tmp_path, valkey.url).origin)
    config.write_text(config.read_text().replace('addr = "127.0.0.1:', 'addr = "[::1]:'))
    settings = load(config, environ={})
    with running_door(door, settings) as running:
        assert running.url.startswith("http://[::1]:")
        assert running.send("GET", "/absent").status_code == 404
    assert settings.api.manager.url == f"http://{settings.api.manager.address}"
