"""The tables of artifacts: both spellings, the old arrays, and what stops the start."""

from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.settings import effective, masked
from tests.support.doors import settings_in

OBJECTS = """
[artifact-storages.models]
type = "object_storage"
[artifact-storages.models.object_storage]
endpoint = "http://127.0.0.1:9000"
access_key = "key-of-models"
secret_key = "secret-of-models"
buckets = ["one", "two"]
region = "local"
presigned_upload = { min_size = 1, max_size = "1g" }
"""
OLD = """
[[storages]]
name = "old"
endpoint = "http://127.0.0.1:9000"
access_key = "key-of-old"
secret-key = "secret-of-old"
buckets = ["one"]
region = "local"
[[registries]]
name = "hub"
[registries.config]
type = "huggingface"
token = "token-of-hub"
[[registries]]
name = "site"
[registries.config]
type = "reservoir"
manager_endpoint = "https://manager.example.com"
manager_secret_key = "secret-of-site"
"""


def test_both_spellings_and_the_old_arrays_are_read(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, more=OBJECTS + OLD)
    models = settings.artifact_storages["models"].object_storage
    old = settings.artifact_storages["old"].object_storage
    assert models
    assert old
    assert (models.buckets, old.buckets) == (["one", "two"], ["one"])
    assert (models.presigned_upload.max_size, models.presigned_upload.expiration) == ("1g", 300)
    hub = settings.artifact_registries["hub"].huggingface
    site = settings.artifact_registries["site"].reservoir
    assert hub
    assert site
    assert (hub.endpoint, hub.token) == ("https://huggingface.co", "token-of-hub")
    assert site.manager_endpoint == "https://manager.example.com"
    assert settings.reservoir_client.connect_seconds == 30


def test_no_secret_is_printed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, more=OBJECTS + OLD)
    printed = "".join(masked(key, value) for key, value in effective(settings))
    for secret in ("key-of", "secret-of", "token-of"):
        assert secret not in printed


VFS = '[artifact-storages.a]\ntype = "vfs_storage"\n'
HUB = '[artifact-registries.a]\ntype = "huggingface"\n'


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[artifact-storages.a]\ntype = "git_lfs"\n', "git_lfs"),
        (VFS, "needs the table vfs-storage"),
        (VFS + 'vfs-storage = { base-path = "" }\n', "base-path is empty"),
        (VFS + 'vfs-storage = { base-path = "x", subpath = "../y" }\n', "leaves the base-path"),
        (VFS + 'vfs-storage = { base-path = "x", max-file-size = "big" }\n', "not a size"),
        (VFS + 'vfs-storage = { base-path = "x", upload-chunk-size = 10 }\n', "1024"),
        (VFS + 'vfs-storage = { base-pth = "x" }\n', "base-path"),
        (OBJECTS.replace('["one", "two"]', "[]"), "names no bucket"),
        (OBJECTS.replace("http://", ""), "is not a URL"),
        (OBJECTS + "upload-chunk-size = 1024\n", "5242880"),
        (OBJECTS.replace("min_size = 1", "expiration = 0"), "expiration"),
        (HUB, "needs the table huggingface"),
        (HUB + 'huggingface = { endpoint = "hub" }\n', "is not a URL"),
        (HUB + 'huggingface = { mirrors = ["hub"] }\n', "mirrors 'hub' is not a URL"),
        (HUB + "huggingface = { connections = 0 }\n", "connections is between 1 and 256"),
        (HUB + 'huggingface = { max-model-size = "big" }\n', "not a size"),
        ('[artifact-verifiers.a]\nplugin = ""\n', "plugin names no plugin"),
        ("[artifact-verifiers.a]\noptions = { a = 1 }\n", "plugin"),
        (OBJECTS + OLD.replace('name = "old"', 'name = "models"'), "the same name"),
        ("[[storages]]\nregion = 'x'\n", "without a name"),
        (VFS.replace(".a]", ".'a/b']"), "without '/'"),
        ("[reservoir-client]\ntimeout-totl = 1\n", "timeout-total"),
    ],
    ids=str,
)
def test_what_stops_the_start(tmp_path: Path, more: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings_in(tmp_path, more=more)
    assert words in refused.value.detail


def test_verifiers_are_tables_with_options_of_their_own(tmp_path: Path) -> None:
    more = '[artifact-verifiers.my_scan]\nplugin = "scan"\noptions = { some_key = 1 }\n'
    table = settings_in(tmp_path, more=more).artifact_verifiers["my_scan"]
    assert (table.plugin, table.options) == ("scan", {"some_key": 1})
