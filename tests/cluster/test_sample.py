"""A configuration file of the reference starts this service unchanged, if its volume exists."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest

from core.errors import ConfigurationError, NotYetThere
from core.settings import CONFIG_NAME, find, load
from tests.support.doors import running_door
from tests.support.node import wait_for
from tests.support.ports import free_port
from tests.support.reachable import reachable
from tests.support.valkey import Valkey

#: The user of the doors, as the file says.
USER = 1000
SAMPLE = Path(__file__).with_name("sample.toml")


@pytest.fixture
def sample() -> Iterator[Path]:
    """Give the file in a directory that its user may enter, with free ports."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield _written(Path(name))


def _written(place: Path) -> Path:
    text = SAMPLE.read_text("utf-8")
    for port in ("6021", "6022", "16023"):
        here = 'host = "127.0.0.1", port = {} '
        text = text.replace(here.format(port), here.format(free_port()))
    (place / "volume").mkdir()
    os.chown(place / "volume", USER, USER)
    path = place / CONFIG_NAME
    path.write_text(text)
    return path


def test_every_key_is_read(sample: Path) -> None:
    settings = load(sample, {}, ask_etcd=False)
    assert settings.storage_proxy.node_id == "i-storage-proxy-01"
    assert settings.storage_proxy.session_expire_seconds == 86_400
    assert settings.storage_proxy.allow_auto_quota_scope_creation
    hub = settings.artifact_registries["hub"]
    assert hub.type == "huggingface"
    assert hub.huggingface is not None
    assert hub.huggingface.token == "hf_something"
    assert settings.artifact_registries["old-hub"].type == "huggingface"
    old = settings.artifact_storages["old"].object_storage
    assert old is not None
    assert old.buckets == ["models"]
    shelf = settings.artifact_storages["shelf"].vfs_storage
    assert shelf is not None
    assert shelf.base_path == "shelf"
    assert settings.volume_path(settings.volume["local"]) == sample.parent / "volume"
    with pytest.raises(NotYetThere):
        load(sample, {})  # which names no Redis but by etcd, and no member answers


def test_the_doors_start_with_it(sample: Path, valkey: Valkey) -> None:
    os.environ["VFOLDER__VFOLDER__REDIS__URL"] = valkey.url
    try:
        settings = load(sample)
        way = reachable()
        with (
            running_door("manager", settings, way) as manager,
            running_door("client", settings, way),
        ):
            secret = {"X-BackendAI-Storage-Auth-Token": settings.api.manager.secret}
            answer = manager.send("GET", "/volumes", headers=secret)
            assert [volume["name"] for volume in answer.json()["volumes"]] == ["local"]
            wait_for(lambda: manager.send("GET", "/readyz").status_code == 200)
            created = {"volume": "local", "vfid": f"user:{uuid4()}/{uuid4().hex}"}
            manager.send("POST", "/folder/create", json=created, headers=secret)
            owners = {one.stat().st_uid for one in (sample.parent / "volume").glob("*")}
            assert owners == {USER}
    finally:
        del os.environ["VFOLDER__VFOLDER__REDIS__URL"]


def test_environment_and_hints(sample: Path) -> None:
    named = {"BACKEND_NAMESPACE": "other", "BACKEND_ETCD_ADDR": "127.0.0.1:1"}
    found = load(sample, named, ask_etcd=False)
    assert found.etcd is not None
    assert (found.etcd.namespace, found.etcd.addr) == ("other", "127.0.0.1:1")
    assert find({"BACKEND_CONFIG_FILE": str(sample)}) == sample
    sample.write_text(sample.read_text().replace("scandir-limit", "scandir-limt"))
    with pytest.raises(ConfigurationError, match="did you mean `scandir-limit`"):
        load(sample, {}, ask_etcd=False)
