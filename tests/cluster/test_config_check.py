"""`vfolder config check` names mistakes with a hint, and prints a right file without secrets."""

import json
import os
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import Struct

from api.cli.configuration.check import ERROR, NOTE, WARNING, Finding, check_file
from backends.base import Mount
from backends.fs import check_mounts
from backends.mounted import check_options
from core.errors import ConfigurationError
from core.settings import CONFIG_VARIABLE, load
from tests.support import preloaded
from tests.support.doors import SECRET, TICKET_SECRET, settings_in


def check(directory: Path, change: tuple[str, str], **variables: str) -> tuple[int, str, str]:
    settings = settings_in(directory)
    path = Path(settings.origin)
    path.write_text(path.read_text().replace(*change))
    environment = os.environ | {CONFIG_VARIABLE: settings.origin} | variables
    done = preloaded.run(["api.cli", "config", "check"], environment, 120)
    return done.returncode, done.stdout, done.stderr


#: A setting of the reference that has no effect.
STORAGE = """
[artifact-storages.one]
type = "vfs_storage"
[artifact-storages.one.vfs-storage]
base-path = "x"
download-chunk-size = 4096
"""


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (("node-id", "node_idd"), "did you mean `node-id`"),
        (("internal-addr", "internaladdr"), "did you mean `internal-addr`"),
        (("url =", "urll ="), "did you mean `url`"),
        (('path = "local"', 'pathh = "local"'), "in [volume.local]; did you mean `path`"),
        (('backend = "vfs"', 'backend = "vsf"'), "'vsf'; did you mean `vfs`? known are"),
        (('backend = "vfs"', 'backend = "zzz"'), "'zzz'; known are"),
        (('path = "local"', 'path = ""'), "name the mounted directory"),
        (('backend = "vfs"', 'backend = "netapp"'), "[volume.local"),
        (('"1d"', '"one day"'), "is not a duration"),
        (("[api.client]", '[logging]\nlevel = "LOUD"\n[api.client]'), "'LOUD' is none of"),
    ],
    ids=str,
)
def test_mistakes_are_named_with_a_hint(tmp_path: Path, change: tuple[str, str], hint: str) -> None:
    status, printed, errors = check(tmp_path, change)
    assert status == 1
    assert hint in errors
    assert SECRET not in printed + errors


def test_a_right_file_is_printed_without_secrets(tmp_path: Path) -> None:
    change = ("[api.client]", "[debug]\nenabled = true\n[api.client]")
    more = {"VFOLDER__STORAGE_PROXY__SCANDIR_LIMIT": "7"}
    status, printed, errors = check(tmp_path, change, **more)
    assert status == 0, errors
    assert "storage-proxy.scandir-limit = 7" in printed
    assert "debug.enabled is set and has no effect here" in errors
    assert SECRET not in printed
    assert TICKET_SECRET not in printed


def test_variables_are_checked_too(tmp_path: Path) -> None:
    more = {"VFOLDER__STORAGE_PROXY__SCANDIR_LIMTI": "7"}
    status, _, errors = check(tmp_path, ("[api.client]", "[api.client]"), **more)
    assert status == 1
    assert "did you mean `scandir-limit`" in errors


def test_a_plugin_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    package = tmp_path / "packages" / "broken-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[vfolder.backends]\nbroken = broken.backend:Broken\n"
    )
    change = ('backend = "vfs"', 'backend = "broken"')
    status, _, errors = check(tmp_path, change, PYTHONPATH=str(package.parent))
    assert status == 1
    assert "'broken' (broken.backend:Broken) cannot be loaded" in errors
    assert "Traceback" not in errors


def test_verifiers_are_made(tmp_path: Path) -> None:
    table = '[artifact-verifiers.scan]\nplugin = "PLUGIN"\noptions = {}\n[api.client]'
    status, _, errors = check(tmp_path, ("[api.client]", table.replace("PLUGIN", "absent")))
    assert status == 1
    assert "No verifier is called 'absent'; known: none." in errors
    package = tmp_path / "packages" / "broken-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[vfolder.verifiers]\nbroken = broken:Broken\n")
    change = ("[api.client]", table.replace("PLUGIN", "broken"))
    status, _, errors = check(tmp_path, change, PYTHONPATH=str(package.parent))
    assert status == 1
    assert "The plugin 'broken' (broken:Broken) raised ModuleNotFoundError" in errors
    assert "Traceback" not in errors


def findings(directory: Path, *changes: tuple[str, str], more: str = "") -> list[Finding]:
    """What is found in a file that is right but for the changes and what is added."""
    path = Path(settings_in(directory, more=more).origin)
    path.chmod(0o600)
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return check_file(path)[1]


def volume(backend: str, options: str) -> str:
    return f'[volume.more]\nbackend = "{backend}"\npath = "local"\noptions = {{ {options} }}\n'


OTHER_KINDS = {
    "xfs": "is no xfs file system",
    "cephfs": "is no CephFS",
}


@pytest.mark.parametrize("backend", OTHER_KINDS)
def test_a_mount_of_another_kind_is_an_error_as_at_the_start(tmp_path: Path, backend: str) -> None:
    found = findings(tmp_path, ('backend = "vfs"', f'backend = "{backend}"'))
    errors = [(one.key, one.text) for one in found if one.level == ERROR]
    assert errors == [("volume.local.path", f"Volume local {OTHER_KINDS[backend]}.")]


class Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a plugin that refuses what it does not know."""

    status_file: str = ""


@pytest.mark.parametrize(
    ("option", "words"),
    [("status_fil", "; did you mean `status_file`?"), ("else_where", ".")],
)
def test_an_option_that_a_plugin_refuses_has_a_hint(option: str, words: str) -> None:
    mount = Mount("local", Path("/"), {option: "x"})
    with pytest.raises(ConfigurationError) as refused:
        check_options(mount, Strict)
    assert refused.value.detail == f"[volume.local.options]: `{option}` is no option{words}"


def test_nothing_is_wrong_with_a_right_file(tmp_path: Path) -> None:
    assert [one for one in findings(tmp_path) if one.level != NOTE] == []


NETAPP = 'netapp_ontap_endpoint="https://a", netapp_ontap_user="u", netapp_ontap_password="p"'
SOCKET = 'quota-socket = "/absent/quota"\n'
MORE = "volume.more"


@pytest.mark.parametrize(
    ("more", "level", "key", "words"),
    [
        (
            volume("netapp", 'netapp_admin="a"'),
            ERROR,
            f"{MORE}.options.netapp_admin",
            "is an old spelling: `netapp_ontap_user`",
        ),
        (volume("netapp", NETAPP), ERROR, MORE, "missing required field"),
        (volume("xfs", "quota=1"), ERROR, MORE, "quota"),
        (
            volume("xfs", 'project_file="/etc/projects"'),
            WARNING,
            f"{MORE}.options.project_file",
            "did you mean `projects_file`",
        ),
        (
            volume("cephfs", 'ceph_conf="/absent/ceph.conf"'),
            ERROR,
            f"{MORE}.options.ceph_conf",
            "/absent/ceph.conf does not exist",
        ),
        (
            f'[{MORE}]\nbackend = "vfs"\npath = "absent"\n',
            WARNING,
            f"{MORE}.path",
            "is it mounted?",
        ),
        (
            f'[{MORE}]\nbackend = "vfs"\npath = "storage-proxy.toml"\n',
            ERROR,
            f"{MORE}.path",
            "is not a directory.",
        ),
        (
            '[vfolder.mounts]\nrequire-mount = ["local"]\n',
            ERROR,
            "volume.local.path",
            "no mount point",
        ),
        (
            f'[vfolder.worker]\nvolumes = ["other"]\n{SOCKET}',
            WARNING,
            "vfolder.worker.volumes",
            "names 'other'",
        ),
        (
            f"[vfolder.worker]\n{SOCKET}",
            WARNING,
            "vfolder.worker.quota-socket",
            "/absent does not exist",
        ),
        (
            '[vfolder.flower]\naddr = "192.0.2.1:1"\npassword = "secret"\n',
            ERROR,
            "vfolder.flower.addr",
            "192.0.2.1:1 cannot be used",
        ),
        ('[vfolder]\nstate-dir = "storage-proxy.toml/x"\n', ERROR, "vfolder.state-dir", "is not"),
        (
            STORAGE.replace('"x"', '"storage-proxy.toml"'),
            ERROR,
            "artifact-storages.one.vfs-storage.base-path",
            "is not a directory",
        ),
        (
            '[artifact-registries.one]\ntype = "reservoir"\nreservoir = {}\n',
            WARNING,
            "artifact-registries.one",
            "no import will work",
        ),
        (
            STORAGE,
            NOTE,
            "artifact-storages.one.vfs-storage.download-chunk-size",
            "no effect",
        ),
    ],
)
def test_what_a_start_or_the_first_use_refuses_is_found(
    tmp_path: Path, more: str, level: str, key: str, words: str
) -> None:
    every = findings(tmp_path, more=more)
    found = [one for one in every if one.key == key]
    assert found, every
    assert found[0].level == level
    assert words in found[0].text


def test_addresses_and_users_are_looked_at(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        more = f'[vfolder.flower]\naddr = "127.0.0.1:{taken.getsockname()[1]}"\npassword = "p"\n'
        node = 'node-id = "node1"\nuser = "no-such-user"'
        found = findings(tmp_path, ('node-id = "node1"', node), more=more)
    texts = {one.key: one for one in found}
    assert "in use" in texts["vfolder.flower.addr"].text
    assert texts["storage-proxy.user"].level == ERROR


def test_two_doors_at_one_address(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    old = f'internal-addr = "{settings.api.manager.internal_addr}"'
    changed = f'internal-addr = "{settings.api.manager.service_addr}"'
    path = Path(settings.origin)
    path.write_text(path.read_text().replace(old, changed))
    found = [one for one in check_file(path)[1] if one.key == "api.manager.internal-addr"]
    assert found[0].level == ERROR
    assert "is also that of api.manager.service-addr" in found[0].text


def test_files_with_secrets_that_others_may_read(tmp_path: Path) -> None:
    path = Path(settings_in(tmp_path).origin)
    path.chmod(0o644)
    found = [one for one in check_file(path)[1] if one.level == WARNING]
    assert "other users may read" in found[0].text
    path.chmod(0o640)
    assert [one for one in check_file(path)[1] if one.level == WARNING] == []


def certificate(directory: Path, ends: datetime) -> None:
    """Write `cert` and `key`: an authority of its own that began a year before its end."""
    begins = ends - timedelta(days=365)
    (directory / "index").touch()
    (directory / "ca.cnf").write_text(
        f"[ca]\ndefault_ca = one\n[one]\ndatabase = {directory}/index\npolicy = any\n"
        f"new_certs_dir = {directory}\nrand_serial = yes\ndefault_md = sha256\n"
        "[any]\ncommonName = supplied\n"
    )
    times = [f"-startdate {begins:%Y%m%d%H%M%SZ}", f"-enddate {ends:%Y%m%d%H%M%SZ}"]
    for command in (
        "req -new -newkey rsa:2048 -nodes -subj /CN=door -keyout key -out request",
        f"ca -batch -selfsign -config ca.cnf -in request -keyfile key -out cert {' '.join(times)}",
    ):
        line = ["openssl", *command.split()]
        subprocess.run(line, cwd=directory, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("days", "level", "words"),
    [
        (-1, ERROR, "ssl-cert: no client accepts it: certificate has expired."),
        (20, WARNING, "put a new one in its place"),
        (40, None, ""),
        (400, ERROR, "ssl-cert: no client accepts it: certificate is not yet valid."),
    ],
)
def test_the_end_of_a_certificate(tmp_path: Path, days: int, level: str | None, words: str) -> None:
    certificate(tmp_path, datetime.now(UTC) + timedelta(days=days))
    tls = '[api.client]\nssl-enabled = true\nssl-cert = "cert"\nssl-privkey = "key"'
    found = [one for one in findings(tmp_path, ("[api.client]", tls)) if one.level != NOTE]
    assert [one.level for one in found] == ([level] if level else [])
    assert all(words in one.text and one.key.startswith("api.client") for one in found)


def test_the_rights_of_the_configured_user(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir(mode=0o755)
    tmp_path.chmod(0o700)
    change = ('node-id = "node1"', 'node-id = "node1"\nuser = 54321')
    found = {one.key: one for one in findings(tmp_path, change)}
    assert "chown its top" in found["volume.local.path"].text
    assert "cannot reach" in found["vfolder.state-dir"].text


ETCD = '[etcd]\nnamespace = "local"\naddr = "127.0.0.1:{port}"\n[storage-proxy]'


def test_an_embedded_store_without_a_password_is_found(tmp_path: Path) -> None:
    url = ('url = "redis://127.0.0.1:1"', "")
    found = [one for one in findings(tmp_path, url) if one.level == ERROR]
    assert [one.key for one in found] == ["vfolder.redis.password"]
    assert "below [vfolder.redis]" in found[0].text
    closed = ('url = "redis://127.0.0.1:1"', 'password = "p"')
    assert [one for one in findings(tmp_path, closed) if one.level == ERROR] == []


def test_etcd_is_not_asked(tmp_path: Path) -> None:
    with socket.socket() as etcd:
        etcd.bind(("127.0.0.1", 0))
        etcd.listen()
        etcd.settimeout(0)
        change = ("[storage-proxy]", ETCD.format(port=etcd.getsockname()[1]))
        found = findings(tmp_path, change, ('url = "redis://127.0.0.1:1"', ""))
        with pytest.raises(BlockingIOError):
            etcd.accept()
    assert [one for one in found if one.level != NOTE] == []
    assert "this check does not" in next(one.text for one in found if one.key == "vfolder.redis")


def test_a_volume_that_this_node_does_not_serve_is_not_looked_for_here(tmp_path: Path) -> None:
    more = (
        f'[{MORE}]\nbackend = "vfs"\npath = "absent"\n[vfolder.mounts]\nrequire-mount = ["more"]\n'
    )
    assert f"{MORE}.path" in [one.key for one in findings(tmp_path, more=more)]
    more += '[vfolder.worker]\nvolumes = ["local"]\n'
    assert [one for one in findings(tmp_path, more=more) if one.level != NOTE] == []
    check_mounts(load(tmp_path / "storage-proxy.toml", {}))


def command(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["api.cli", "config", "check", "--config", str(path), *words]
    return preloaded.run(command, os.environ, 120)


def test_json_for_programs_and_strict_for_deployments(tmp_path: Path) -> None:
    path = Path(settings_in(tmp_path).origin)
    path.chmod(0o644)
    done = command(path, "-o", "json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert document["ok"]
    assert document["file"] == str(path)
    assert document["values"]["storage-proxy.node-id"] == '"node1"'
    assert SECRET not in done.stdout
    assert [one["level"] for one in document["findings"] if one["level"] != NOTE] == [WARNING]
    done = command(path, "-o", "json", "--strict")
    assert done.returncode == 1
    assert not json.loads(done.stdout)["ok"]
    path.write_text("colour = 1\n[api]\n")
    done = command(path, "-o", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["values"] == {}
    assert [one["level"] for one in json.loads(done.stdout)["findings"]] == [ERROR]


def test_a_file_that_is_absent(tmp_path: Path) -> None:
    done = command(tmp_path / "absent.toml")
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr
