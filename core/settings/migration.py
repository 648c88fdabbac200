"""How each key of the reference's configuration is read here, for a site that moves.

`docs/migration.md` has the same table; a test compares them. The keys are those of the sample files
and the code of all release lines of the reference, and of the older package for the storage proxy
alone. A row with `*` at the end stands for all keys of a table.
"""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from core.settings.settings import read_tables

#: Stands for the name that a site gave a volume, a storage or a registry.
NAME = "NAME"
#: Tables whose keys are names.
_NAMED = ("volume", "artifact-storages", "artifact-registries", "artifact-verifiers")


class Reading(StrEnum):
    """How a key is read."""

    SAME = "same"
    #: The key must be replaced; the note says by which.
    RENAMED = "renamed"
    NO_EFFECT = "no effect"
    UNKNOWN = "unknown"


class KeyReading(NamedTuple):
    """One row of the table."""

    key: str
    reading: Reading
    note: str = ""


_Names = tuple[str, ...]
_SAME, _RENAMED = Reading.SAME, Reading.RENAMED
_NO_EFFECT = Reading.NO_EFFECT
_OPTION = "volume.NAME.options."
_OURS = "a setting of this service: artifacts.md"
_STORAGE, _REGISTRY = "artifact-storages.NAME", "artifact-registries.NAME"

KEYS: tuple[KeyReading, ...] = (
    KeyReading("etcd.namespace", _SAME),
    KeyReading(
        "etcd.addr",
        _SAME,
        "the addresses of Redis are read from it, unless `[vfolder.redis]` names one",
    ),
    KeyReading("etcd.user", _SAME),
    KeyReading("etcd.password", _SAME),
    KeyReading("storage-proxy.node-id", _SAME),
    KeyReading("storage-proxy.num-proc", _NO_EFFECT, "`[vfolder.doors] processes`"),
    KeyReading("storage-proxy.pid-file", _NO_EFFECT, "systemd or `vfolder up` knows its processes"),
    KeyReading("storage-proxy.event-loop", _NO_EFFECT, "doors are threads"),
    KeyReading("storage-proxy.ipc-base-path", _NO_EFFECT, "`[vfolder] state-dir`"),
    KeyReading("storage-proxy.scandir-limit", _SAME),
    KeyReading("storage-proxy.max-upload-size", _SAME),
    KeyReading("storage-proxy.secret", _SAME, "tickets of both services are valid at both"),
    KeyReading("storage-proxy.session-expire", _SAME),
    KeyReading(
        "storage-proxy.user",
        _SAME,
        "without it, processes keep their user; the reference took the owner of its package",
    ),
    KeyReading("storage-proxy.group", _SAME),
    KeyReading("storage-proxy.aiomonitor-port", _NO_EFFECT),
    KeyReading("storage-proxy.aiomonitor-termui-port", _NO_EFFECT),
    KeyReading("storage-proxy.aiomonitor-webui-port", _NO_EFFECT),
    KeyReading(
        "storage-proxy.use-watcher",
        _NO_EFFECT,
        "the worker has the rights; `[vfolder.worker] quota-socket` for doors",
    ),
    KeyReading("storage-proxy.watcher-insock-path-prefix", _NO_EFFECT),
    KeyReading("storage-proxy.watcher-outsock-path-prefix", _NO_EFFECT),
    KeyReading("storage-proxy.allow-auto-quota-scope-creation", _SAME),
    KeyReading("storage-proxy.volume-stats.observe-interval", _SAME),
    KeyReading("storage-proxy.volume-stats.observe-timeout", _SAME),
    KeyReading("storage-proxy.volume-stats.cache-ttl", _SAME),
    KeyReading("api.client.service-addr", _SAME),
    KeyReading("api.client.ssl-enabled", _SAME),
    KeyReading("api.client.ssl-cert", _SAME, "a relative path begins at the directory of the file"),
    KeyReading("api.client.ssl-privkey", _SAME),
    KeyReading("api.manager.service-addr", _SAME),
    KeyReading("api.manager.announce-addr", _SAME),
    KeyReading("api.manager.internal-addr", _SAME),
    KeyReading("api.manager.announce-internal-addr", _SAME),
    KeyReading("api.manager.ssl-enabled", _SAME),
    KeyReading(
        "api.manager.ssl-cert", _SAME, "a relative path begins at the directory of the file"
    ),
    KeyReading("api.manager.ssl-privkey", _SAME),
    KeyReading("api.manager.secret", _SAME),
    KeyReading("volume.NAME.backend", _SAME, "the names of backends are below"),
    KeyReading("volume.NAME.path", _SAME, "the same directory: nothing is moved or converted"),
    KeyReading("volume.NAME.fsprefix", _SAME, "reported in `GET /volumes`"),
    KeyReading(f"{_OPTION}lock_file_path", _NO_EFFECT, "xfs: locks are on the volume"),
    KeyReading(f"{_OPTION}purity_endpoint", _SAME),
    KeyReading(f"{_OPTION}purity_api_token", _SAME),
    KeyReading(
        f"{_OPTION}purity_api_version", _SAME, "remove it: `auto` takes the newest known version"
    ),
    KeyReading(f"{_OPTION}purity_fs_name", _SAME),
    KeyReading(
        f"{_OPTION}purity_ssl_verify", _RENAMED, "`verify_tls`; certificates are checked by default"
    ),
    KeyReading(f"{_OPTION}netapp_ontap_endpoint", _SAME),
    KeyReading(f"{_OPTION}netapp_ontap_user", _SAME),
    KeyReading(f"{_OPTION}netapp_ontap_password", _SAME),
    KeyReading(f"{_OPTION}netapp_volume_name", _SAME),
    KeyReading(f"{_OPTION}netapp_nfs_host", _SAME),
    KeyReading(f"{_OPTION}netapp_xcp_cmd", _SAME),
    KeyReading(f"{_OPTION}netapp_svm", _SAME),
    KeyReading(f"{_OPTION}netapp_endpoint", _RENAMED, "`netapp_ontap_endpoint`"),
    KeyReading(f"{_OPTION}netapp_admin", _RENAMED, "`netapp_ontap_user`"),
    KeyReading(f"{_OPTION}netapp_password", _RENAMED, "`netapp_ontap_password`"),
    KeyReading(
        f"{_OPTION}netapp_qtree_name", _RENAMED, "remove it: each quota scope is a qtree of its own"
    ),
    KeyReading(f"{_OPTION}netapp_xcp_hostname", _RENAMED, "`netapp_nfs_host`"),
    KeyReading(f"{_OPTION}netapp_xcp_catalog_path", _RENAMED, "`xcp_catalog`, as `host:/export`"),
    KeyReading(
        f"{_OPTION}netapp_xcp_container_name",
        _RENAMED,
        '`netapp_xcp_cmd`, as `["docker", "exec", "NAME", "xcp"]`',
    ),
    KeyReading(f"{_OPTION}weka_endpoint", _SAME),
    KeyReading(f"{_OPTION}weka_username", _SAME),
    KeyReading(f"{_OPTION}weka_password", _SAME),
    KeyReading(f"{_OPTION}weka_organization", _SAME),
    KeyReading(f"{_OPTION}weka_fs_name", _SAME),
    KeyReading(
        f"{_OPTION}weka_verify_ssl",
        _SAME,
        "certificates are checked by default; the reference did not",
    ),
    KeyReading(f"{_OPTION}vast_endpoint", _SAME),
    KeyReading(f"{_OPTION}vast_username", _SAME),
    KeyReading(f"{_OPTION}vast_password", _SAME),
    KeyReading(
        f"{_OPTION}vast_verify_ssl",
        _SAME,
        "certificates are checked by default; the reference did not",
    ),
    KeyReading(f"{_OPTION}vast_force_login", _NO_EFFECT),
    KeyReading(f"{_OPTION}vast_api_version", _SAME),
    KeyReading(f"{_OPTION}vast_cluster_id", _SAME),
    KeyReading(f"{_OPTION}vast_storage_base_dir", _SAME),
    KeyReading(f"{_OPTION}vast_cluster_info_cache_ttl", _NO_EFFECT),
    KeyReading(f"{_OPTION}dell_endpoint", _SAME),
    KeyReading(f"{_OPTION}dell_username", _SAME),
    KeyReading(f"{_OPTION}dell_admin", _SAME, "another name of `dell_username`"),
    KeyReading(f"{_OPTION}dell_password", _SAME),
    KeyReading(f"{_OPTION}dell_api_version", _SAME),
    KeyReading(f"{_OPTION}dell_ifs_path", _SAME),
    KeyReading(f"{_OPTION}dell_system_name", _NO_EFFECT),
    *(
        KeyReading(f"{_OPTION}gpfs_{word}", _SAME)
        for word in ("endpoint", "username", "password", "fs_name", "owner", "fileset_prefix")
    ),
    KeyReading(
        f"{_OPTION}gpfs_verify_ssl",
        _SAME,
        "certificates are checked by default; the reference did not",
    ),
    KeyReading(f"{_OPTION}cluster_id", _NO_EFFECT),
    *(
        KeyReading(f"{_OPTION}{word}", _SAME)
        for word in (
            *("address", "username", "password", "share_query_retry", "share_query_wait_sec"),
            "ssl_enabled",
        )
    ),
    KeyReading(
        f"{_OPTION}mount_source", _NO_EFFECT, "nodes and agents mount the volume once, as a whole"
    ),
    KeyReading(f"{_OPTION}ssl_config.*", _SAME),
    KeyReading("debug.*", _NO_EFFECT, '`[logging] level = "DEBUG"` shows more'),
    KeyReading("logging.level", _SAME),
    KeyReading(
        "logging.*", _NO_EFFECT, "all logs go to standard error, as JSON; see operations.md"
    ),
    KeyReading("pyroscope.*", _NO_EFFECT),
    KeyReading("otel.*", _NO_EFFECT),
    KeyReading("service-discovery.*", _SAME),
    KeyReading(f"{_STORAGE}.type", _SAME, "`git_lfs` stops the start, as there"),
    KeyReading(f"{_STORAGE}.vfs-storage.upload-chunk-size", _NO_EFFECT),
    KeyReading(f"{_STORAGE}.vfs-storage.download-chunk-size", _NO_EFFECT),
    KeyReading(f"{_STORAGE}.vfs-storage.*", _SAME),
    KeyReading(f"{_STORAGE}.object-storage.buckets", _SAME, "all are served, not only the first"),
    KeyReading(f"{_STORAGE}.object-storage.download-chunk-size", _NO_EFFECT),
    KeyReading(f"{_STORAGE}.object-storage.reservoir-download-chunk-size", _NO_EFFECT),
    KeyReading(f"{_STORAGE}.object-storage.*", _SAME),
    KeyReading(f"{_REGISTRY}.type", _SAME),
    KeyReading(f"{_REGISTRY}.huggingface.endpoint", _SAME, "for all calls, not for some"),
    KeyReading(f"{_REGISTRY}.huggingface.token", _SAME, "never sent to another host"),
    KeyReading(f"{_REGISTRY}.huggingface.download-chunk-size", _NO_EFFECT),
    KeyReading(f"{_REGISTRY}.huggingface.mirrors", _SAME, _OURS),
    KeyReading(f"{_REGISTRY}.huggingface.connections", _SAME, _OURS),
    KeyReading(f"{_REGISTRY}.huggingface.max-model-size", _SAME, _OURS),
    KeyReading(f"{_REGISTRY}.reservoir.*", _SAME),
    KeyReading("artifact-verifiers.NAME.*", _SAME, _OURS),
    KeyReading("reservoir-client.*", _SAME),
    KeyReading("storages.*", _SAME, "read as `[artifact-storages.NAME]`"),
    KeyReading("registries.*", _SAME, "read as `[artifact-registries.NAME]`"),
    KeyReading("vfolder.*", _SAME, "settings of this service: configuration.md"),
)
_EXACT = {entry.key: entry for entry in KEYS if not entry.key.endswith("*")}
_TABLES = [entry for entry in KEYS if entry.key.endswith(".*")]


def reading_of(key: str) -> KeyReading:
    """Return the row of a dotted key; unknown keys are `UNKNOWN`."""
    if key in _EXACT:
        return _EXACT[key]
    for entry in _TABLES:
        if key.startswith(entry.key.removesuffix("*")):
            return entry
    if key.startswith(_OPTION):
        return KeyReading(
            key, Reading.UNKNOWN, "not an option of the reference: the backend checks it"
        )
    return KeyReading(key, Reading.UNKNOWN, "the start refuses it: remove it")


def keys_of(path: Path) -> Iterator[tuple[str, KeyReading]]:
    """Return every key of a configuration file, spelled as there, with its row.

    Raises:
        ConfigurationError: the file cannot be read, or is not TOML.
    """
    for written, key in _flat(read_tables(path), (), ()):
        yield ".".join(written), reading_of(".".join(key))


def _flat(table: Any, written: _Names, key: _Names) -> Iterator[tuple[_Names, _Names]]:  # noqa: ANN401 - any TOML value
    """Return each value's names as written, and as the table of keys has them."""
    if isinstance(table, list) and any(isinstance(one, dict) for one in table):
        for one in table:
            yield from _flat(one, written, key)
    elif isinstance(table, dict) and not _is_address(key):
        for name, value in table.items():
            yield from _flat(value, (*written, name), (*key, _known_as(name, key)))
    else:
        yield written, key


def _is_address(key: _Names) -> bool:
    """Whether a value is an address, which may be a table `{host, port}`."""
    return bool(key) and (key[-1] == "addr" or key[-1].endswith("-addr"))


def _known_as(name: str, key: _Names) -> str:
    if len(key) == 1 and key[0] in _NAMED:
        return NAME
    return name if key[-1:] == ("options",) else name.replace("_", "-")
