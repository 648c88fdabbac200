"""`vfolder migrate check`: a configuration and volumes of the reference, and what is served."""

import json
import os
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result
from msgspec import structs

from api.cli import main
from backends.volumes import backend_factory
from core.settings import KEYS, Reading, load
from core.settings.artifacts import ArtifactTable
from core.settings.migration import reading_of
from core.settings.reference import ReferenceTables, Table
from tests.support.node import ROOT

#: Tables whose keys are names that a site chose.
NAMED = {"volume", "artifact-storages", "artifact-registries", "artifact-verifiers"}
SAMPLE = Path(__file__).with_name("sample.toml")
DOCUMENT = (ROOT / "docs" / "migration.md").read_text("utf-8")
#: Options of the sample files that this service does not read by these names.
OLD_OPTIONS = """
[volume.pure]
backend = "purestorage"
path = "volume"
[volume.pure.options]
purity_endpoint = "https://array.example.com"
purity_ssl_verify = false
purity_api_token = "T-secret-token"
purity_fs_name = "fs"
[volume.filer]
backend = "netapp"
path = "volume"
[volume.filer.options]
netapp_endpoint = "https://filer.example.com"
netapp_admin = "admin"
netapp_password = "secret-password"
netapp_svm = "svm"
netapp_volume_name = "volume"
netapp_qtree_name = "tree"
netapp_xcp_container_name = "xcp"
netapp_xcp_hostname = "host"
netapp_xcp_catalog_path = "catalog"
"""


def check(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["migrate", "check", *map(str, words)])


def checked(*words: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(check(*words, "--json").stdout)
    return found


def written(directory: Path, more: str = "") -> Path:
    """A small file of the reference with the volume `local`."""
    text = f"""
[storage-proxy]
node-id = "one"
secret = "ticket-secret"
session-expire = "1d"
event-loop = "uvloop"
[api.client]
service-addr = {{ host = "0.0.0.0", port = 6021 }}
ssl-enabled = false
[api.manager]
service-addr = {{ host = "0.0.0.0", port = 6022 }}
ssl-enabled = false
secret = "manager-secret"
[volume.local]
backend = "vfs"
path = "volume"
{more}
"""
    file = directory / "storage-proxy.toml"
    file.write_text(text, "utf-8")
    return file


def a_vfolder(top: Path, *parts: str) -> Path:
    name = uuid4().hex
    path = top.joinpath(*parts, name[:2], name[2:4], name[4:])
    path.mkdir(parents=True)
    (path / "file.txt").write_text("a user's file")
    return path


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A volume as the reference leaves it: two scopes, three vfolders."""
    top = tmp_path / "volume"
    top.mkdir()
    (top / "version.txt").write_text("3")
    scope = uuid4().hex
    a_vfolder(top, scope)
    (a_vfolder(top, scope) / "metadata.json").write_text("{}")
    a_vfolder(top, uuid4().hex)
    return top


def entries(top: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in [top, *top.rglob("*")])


def test_a_plain_site_is_served_as_it_is(tmp_path: Path, volume: Path) -> None:
    before = entries(volume)
    done = check(written(tmp_path))
    assert done.exit_code == 0, done.output
    assert "3 vfolders in 2 quota scopes, layout 3" in done.output
    assert "storage-proxy.event-loop\tno effect" in done.output
    assert done.output.endswith("Everything is served.\n")
    assert entries(volume) == before, "nothing is written"


def test_what_is_not_served_is_named(tmp_path: Path, volume: Path) -> None:
    scope = next(path for path in volume.iterdir() if path.is_dir())
    (scope / "ab").mkdir(exist_ok=True)
    (scope / "ab" / "stray").mkdir()
    (volume / "home").mkdir()
    (volume / uuid4().hex).symlink_to(scope)
    (a_vfolder(volume) / ".upload").mkdir()
    upload = next(volume.glob("??/??/*/.upload"))
    (upload / uuid4().hex).write_bytes(b"half")
    done = check(written(tmp_path))
    assert done.exit_code == 1
    assert "1 vfolders without a quota scope" in done.output
    assert "1 vfolders have unfinished uploads" in done.output
    found = checked(written(tmp_path))["volumes"][0]["inventory"]
    names = {"home", f"{scope.name}/ab/stray"}
    assert names < set(found["unknown"])
    assert len(found["unknown"]) == 3, found["unknown"]


def test_old_options_are_named_with_the_new_ones(tmp_path: Path, volume: Path) -> None:
    file = written(tmp_path, OLD_OPTIONS)
    done = check(file)
    assert done.exit_code == 1
    assert "volume.filer.options.netapp_admin\trenamed\t`netapp_ontap_user`" in done.output
    assert "volume.pure.options.purity_ssl_verify\trenamed\t`verify_tls`" in done.output
    assert "secret" not in done.output
    named = {one["name"]: one["problems"] for one in checked(file)["volumes"]}
    assert named["local"] == []
    assert named["filer"]


def test_a_backend_that_is_not_here(tmp_path: Path, volume: Path) -> None:
    more = '[volume.big]\nbackend = "ours"\npath = "volume"\noptions = { owner = "1:1" }\n'
    found = checked(written(tmp_path, more))
    problems = next(one for one in found["volumes"] if one["name"] == "big")["problems"]
    assert any("'ours'" in problem for problem in problems)
    assert not found["served"]


def test_a_mount_of_another_kind_is_not_served(tmp_path: Path, volume: Path) -> None:
    more = '[volume.fast]\nbackend = "xfs"\npath = "volume"\n'
    before = entries(volume)
    found = checked(written(tmp_path, more))
    problems = {one["name"]: one["problems"] for one in found["volumes"]}
    assert problems == {"local": [], "fast": ["Volume fast is no xfs file system."]}
    assert not found["served"]
    assert entries(volume) == before, "nothing is written"


def test_a_file_that_stops_the_start(tmp_path: Path, volume: Path) -> None:
    done = check(written(tmp_path, "[storage-proxi]\nx = 1\n"))
    assert done.exit_code == 1
    assert "storage-proxi.x\tunknown" in done.output
    assert "A node does not start with this file" in done.output
    assert check(tmp_path / "none.toml").exit_code == 1


def test_one_directory_in_place_of_the_volumes(tmp_path: Path, volume: Path) -> None:
    snapshot = tmp_path / "snapshot"
    os.rename(volume, snapshot)
    assert check(written(tmp_path)).exit_code == 1, "the volume itself is not there"
    done = check(written(tmp_path), snapshot)
    assert done.exit_code == 0, done.output
    assert "3 vfolders in 2 quota scopes" in done.output


def test_artifacts_are_said_to_be_served() -> None:
    done = check(SAMPLE)
    assert "storages.*" not in done.output
    assert "logging.*\tno effect" in done.output


def keys_of_the_tables(kind: type, top: str = "") -> set[str]:
    """Every key that our tables of the reference's file define."""
    found = set()
    for field in structs.fields(kind):
        inner = [field.type, *getattr(field.type, "__args__", ())]
        below = [
            one for one in inner if isinstance(one, type) and issubclass(one, Table | ArtifactTable)
        ]
        name = f"{top}{field.encode_name}"
        name += ".NAME" if field.encode_name in NAMED else ""
        found |= keys_of_the_tables(below[0], f"{name}.") if below else {name}
    return found


def test_every_key_of_the_reference_has_a_row() -> None:
    keys = keys_of_the_tables(ReferenceTables) - {"volume.NAME.options"}
    tables = {key for key in keys if reading_of(f"{key}.x").reading is not Reading.UNKNOWN}
    missing = {key for key in keys - tables if reading_of(key).reading is Reading.UNKNOWN}
    assert not missing


def test_keys_that_are_said_to_be_read_are_read() -> None:
    """Each row «same» or «no effect» below a table of ours names a key that the start accepts."""
    known = keys_of_the_tables(ReferenceTables)
    accepted = {key.key for key in KEYS if key.reading in (Reading.SAME, Reading.NO_EFFECT)}
    ours = {key for key in accepted if not key.endswith("*") and ".options." not in key}
    assert ours - {"logging.level"} <= known
    assert load(SAMPLE, {"VFOLDER__VFOLDER__REDIS__URL": "redis://127.0.0.1"}).logging["level"]


def test_the_document_tells_which_backends_are_here() -> None:
    """Every backend of the reference is here, by its name."""
    (row,) = re.findall(r"^\| (`vfs`.*?) \|", DOCUMENT, re.MULTILINE)
    names = re.findall(r"`([^`]+)`", row)
    assert {"exascaler", "gpfs", "hammerspace", "hammerspace-base", "spectrumscale"} <= set(names)
    for name in names:
        assert backend_factory(name)


def test_the_document_has_the_same_table() -> None:
    rows = re.findall(r"^\| `([^`|]+)` \| ([^|]+) \| ?(.*?) ?\|$", DOCUMENT, re.MULTILINE)
    table = [(key, reading, note) for key, reading, note in rows if reading in set(Reading)]
    assert table == [
        (key, reading, note) for key, reading, note in KEYS if not key.startswith("vfolder.")
    ]
