"""The configuration: one TOML file in the format of the reference service, and the environment.

The variable `VFOLDER__API__MANAGER__SERVICE_ADDR` overrides the setting `[api.manager]
service-addr`. With `_FILE` at the end of its name, the variable names a file that has the value.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from core.errors import ConfigurationError
from core.settings import access, artifacts, redis_from_etcd
from core.settings.own import OwnTables
from core.settings.reference import ReferenceTables, VolumeTable
from core.settings.units import origin
from core.telemetry import logs

#: The variable that names the configuration file.
CONFIG_VARIABLE = "VFOLDER_CONFIG"
#: The variable of the reference service with the same meaning.
REFERENCE_CONFIG_VARIABLE = "BACKEND_CONFIG_FILE"
OVERRIDE_PREFIX = "VFOLDER__"
CONFIG_NAME = "storage-proxy.toml"
SEARCH = (Path(), Path("var"), Path("~/.config/backend.ai"), Path("/etc/backend.ai"))
#: Tables whose keys are names that people choose: these keep their spelling.
_NAMED_TABLES = (
    "volume",
    "artifact-storages",
    "artifact-registries",
    "artifact-verifiers",
    "override-configs",
    "bandwidth",
)
#: Arrays of tables whose keys have two spellings, too.
_ARRAYS = ("storages", "registries", "issuer")
_VOLUME_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
#: A known key this like an unknown one is offered; a less similar one would mislead.
HINT_LIKENESS = 0.7
_UNKNOWN_FIELD = re.compile(
    r"Object contains unknown field `(?P<key>[^`]+)`(?: - at `\$(?P<at>[^`]*)`)?"
)


class Settings(
    ReferenceTables, frozen=True, rename="kebab", forbid_unknown_fields=True, kw_only=True
):
    """The effective configuration of this node."""

    vfolder: OwnTables = msgspec.field(default_factory=OwnTables)
    #: The file that was read; not a key of the file.
    origin: str = ""

    @property
    def directory(self) -> Path:
        """Return the directory of the file; relative paths in the file start here."""
        return Path(self.origin).parent

    @property
    def state_dir(self) -> Path:
        """Return the directory of our own files."""
        return self.directory / self.vfolder.state_dir

    @property
    def seal_secrets(self) -> list[str]:
        """Return the secrets that seal access records: the present one, then the former one."""
        access = self.vfolder.access
        former = access.secret_previous if access is not None else None
        return [self.storage_proxy.secret, *([former] if former else [])]

    @property
    def tree_socket(self) -> Path:
        """Return where the worker answers questions of other nodes about trees."""
        return self.state_dir / "trees.socket"

    def volume_path(self, volume: VolumeTable) -> Path:
        """Return the absolute path of a volume's mount."""
        return (self.directory / volume.path).absolute()

    @property
    def redis_url(self) -> str:
        """Return the URL of Redis without a database number."""
        return self.vfolder.redis.target().plain_url

    @property
    def log_level(self) -> str:
        """Return the level of the logs.

        Raises:
            ValueError: the text is none.
        """
        level = self.logging.get("level", logs.DEFAULT_LEVEL)
        if not isinstance(level, str) or level.upper() not in logs.LEVELS:
            raise ValueError(f"[logging] level {level!r} is none of {', '.join(logs.LEVELS)}")
        return level

    @property
    def store_is_embedded(self) -> bool:
        """Return whether this node runs its own Valkey."""
        return not self.vfolder.redis.is_external

    def check_store(self) -> None:
        """Check that the embedded store has a password, where this node runs one.

        Raises:
            ConfigurationError: it has none; the message says what to write.
        """
        if not self.store_is_embedded or self.vfolder.redis.password:
            return
        from_etcd = " etcd named none: it did not answer, or has none." if self.etcd else ""
        raise ConfigurationError(
            "[vfolder.redis] password is missing. Without one, every user of this machine could "
            "write to the embedded store, and so to the queues of the worker. Write a long random "
            "text as password "
            f"below [vfolder.redis] in {self.origin}, or name another store there by url."
            f"{from_etcd}"
        )


def find(environ: Mapping[str, str] | None = None) -> Path:
    """Return the configuration file: the variable's, else the first that exists in `SEARCH`.

    Raises:
        ConfigurationError: there is no such file.
    """
    environ = os.environ if environ is None else environ
    for variable in (CONFIG_VARIABLE, REFERENCE_CONFIG_VARIABLE):
        if named := environ.get(variable):
            return Path(named).expanduser().absolute()
    for directory in SEARCH:
        candidate = (directory / CONFIG_NAME).expanduser()
        if candidate.is_file():
            return candidate.absolute()
    raise ConfigurationError(
        f"No {CONFIG_NAME} found; set {CONFIG_VARIABLE} or run `vfolder up`, which writes one.",
    )


def load(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    ask_etcd: bool = True,
) -> Settings:
    """Return the settings of the file and the environment, after every key and value was checked.

    Without `ask_etcd` no server is asked: the address of Redis stays out where only etcd has it.

    Raises:
        ConfigurationError: a key or value is wrong; the message names it and says what to do.
        NotYetThere: etcd has to name the Redis and does not answer.
    """
    environ = os.environ if environ is None else environ
    path = path or find(environ)
    tables = file_tables(path)
    _override(tables, environ)
    _override_etcd(tables, environ)
    if ask_etcd:
        redis_from_etcd.complete(tables)
    tables["origin"] = str(path.absolute())
    return _checked(tables)


def file_tables(path: Path) -> dict[str, Any]:
    """Return the tables of a file by the names of today, unchecked, with the values of its files.

    Raises:
        ConfigurationError: a file cannot be read, or a table is no table.
    """
    tables = _kebab(read_tables(path))
    try:
        artifacts.fold_old_arrays(tables)
        access.read_value_files(tables, path.absolute().parent)
    except ValueError as error:
        raise ConfigurationError(f"{error}.") from error
    return tables


def override_tables(environ: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each variable that sets something, with what it sets.

    Raises:
        ConfigurationError: a file that a variable names cannot be read.
    """
    for variable, text in environ.items():
        tables: dict[str, Any] = {}
        _override(tables, {variable: text})
        _override_etcd(tables, {variable: text})
        if tables:
            yield variable, tables


def read_tables(path: Path) -> dict[str, Any]:
    """Return the tables of a file as they are written, unchecked.

    Raises:
        ConfigurationError: the file cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8 text (byte {error.start}).") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}.") from error


def _checked(tables: dict[str, Any]) -> Settings:
    try:
        settings = msgspec.convert(tables, Settings, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigurationError(_sentence(str(error), tables)) from error
    for name, volume in settings.volume.items():
        if not _VOLUME_NAME.fullmatch(name):
            raise ConfigurationError(
                f"[volume.{name}]: a name is letters, digits, '_', '.', '-', at most 63."
            )
        if not volume.path:
            raise ConfigurationError(f"[volume.{name}] path is empty; name the mounted directory.")
    for door, table in (("manager", settings.api.manager), ("client", settings.api.client)):
        if table.ssl_enabled and not table.ssl_cert:
            raise ConfigurationError(
                f"[api.{door}] ssl-enabled needs ssl-cert and ssl-privkey, or set it to false."
            )
    try:  # parse the text forms once here, so that a wrong one stops the start
        _ = settings.storage_proxy.session_expire_seconds, settings.storage_proxy.max_upload_bytes
        _ = settings.api.manager.address, settings.api.manager.internal_address
        _ = settings.api.client.address, settings.vfolder.flower.address
        _ = [settings.vfolder.bytes_per_second(name) for name in settings.vfolder.bandwidth]
        _ = [origin(text) for text in settings.vfolder.doors.origins], settings.log_level
        redis = settings.vfolder.redis
        _ = [target.sentinels for target in (redis, *redis.override_configs.values())]
        artifacts.check_tables("artifact-storages", {**settings.artifact_storages})
        artifacts.check_tables("artifact-registries", {**settings.artifact_registries})
        artifacts.check_tables("artifact-verifiers", {**settings.artifact_verifiers})
        secrets = (settings.storage_proxy.secret, settings.api.manager.secret)
        settings.vfolder.notices.check(settings.directory, secrets)
        if settings.vfolder.access is not None:
            settings.vfolder.access.check(settings.directory, secrets, settings.volume)
            settings.vfolder.access.check_sign_in(settings.vfolder.doors.client_url)
    except ValueError as error:
        raise ConfigurationError(f"{error}.") from error
    return settings


def _sentence(text: str, tables: dict[str, Any]) -> str:
    unknown = _UNKNOWN_FIELD.search(text)
    if not unknown:
        return f"{text.replace(' - at `$.', ' at `')}."
    at = _named((unknown["at"] or "").strip("."), unknown["key"], tables)
    hint = difflib.get_close_matches(unknown["key"], _known_keys(), n=1, cutoff=HINT_LIKENESS)
    question = f"; did you mean `{hint[0]}`?" if hint else "."
    return f"Unknown key `{unknown['key']}` in [{at or 'top level'}]{question}"


def _named(at: str, key: str, tables: dict[str, Any]) -> str:
    """Return the path of a table by its name; `at` may be that of any of them: `volume[...]`."""
    parent, any_of_them, rest = at.partition("[...]")
    if not any_of_them or "[...]" in rest or "." in parent:
        return at
    for name, table in tables[parent].items():
        inner = table
        for part in filter(None, rest.split(".")):
            inner = inner.get(part, {}) if isinstance(inner, dict) else {}
        if isinstance(inner, dict) and key in inner:
            return f"{parent}.{name}{rest}"
    return at


def _known_keys() -> set[str]:
    known: set[str] = set()
    todo: list[Any] = [Settings]
    while todo:
        for item in msgspec.structs.fields(todo.pop()):
            known.add(item.encode_name)
            kinds = [item.type, *getattr(item.type, "__args__", ())]
            todo += [k for k in kinds if isinstance(k, type) and issubclass(k, msgspec.Struct)]
    return known - {"origin"}


def _kebab(tables: dict[str, Any], *, named: bool = False) -> dict[str, Any]:
    return dict(_kebab_item(key, value, named=named) for key, value in tables.items())


def _kebab_item(key: str, value: Any, *, named: bool) -> tuple[str, Any]:  # noqa: ANN401 - any TOML value
    name = key if named else key.replace("_", "-")
    if isinstance(value, dict) and name != "options":
        return name, _kebab(value, named=name in _NAMED_TABLES and not named)
    if name in _ARRAYS and isinstance(value, list):
        return name, [_kebab(entry) if isinstance(entry, dict) else entry for entry in value]
    return name, value


def _override(tables: dict[str, Any], environ: Mapping[str, str]) -> None:
    for variable, text in environ.items():
        if not variable.startswith(OVERRIDE_PREFIX):
            continue
        *path, key = variable.removeprefix(OVERRIDE_PREFIX).lower().replace("_", "-").split("--")
        table: Any = tables
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigurationError(f"{variable} names a table, but `{part}` is a value.")
        if path and path[-1] == "options":  # of a backend, which spells them with underscores
            key = key.replace("-", "_")
        if key.endswith(("-file", "_file")):
            table[key[: -len("-file")]] = _content(variable, Path(text))
        else:
            table[key] = _value(text)


def _content(variable: str, path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"{variable}: cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{variable}: {path} is not UTF-8 text.") from error


def _override_etcd(tables: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Apply the variables of the reference service."""
    names = {
        "BACKEND_NAMESPACE": "namespace",
        "BACKEND_ETCD_ADDR": "addr",
        "BACKEND_ETCD_USER": "user",
        "BACKEND_ETCD_PASSWORD": "password",
    }
    for variable, key in names.items():
        if text := environ.get(variable):
            tables.setdefault("etcd", {})[key] = text


def _value(text: str) -> Any:  # noqa: ANN401 - any TOML value
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
