"""What `vfolder config check` finds: everything that a start or the first use would refuse.

It reads files and asks no server. A finding is an *error* (a process does not start, or a volume is
down), a *warning* (it works, and is probably not meant), or a *note*.
"""

import errno
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigurationError, StorageError
from core.names import moment
from core.process import (
    certificate_end,
    certificate_files,
    check_free,
    identity,
    listen_addresses,
)
from core.settings import Address, Reading, Settings, keys_of, load

ERROR, WARNING, NOTE = "error", "warning", "note"
DOORS = ("manager", "client")
#: A certificate that ends sooner is named (seconds): 30 days, as most authorities renew.
SOON_SECONDS = 30 * 86_400
_FIRST_FREE_PORT = 1024
#: Options of volumes that name files: they are read at the first use.
_FILE_OPTIONS = ("ca_bundle", "ceph_conf", "ceph_keyring", "rapidfile_dir")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth to know; `key` is the setting as the file spells it."""

    level: str
    key: str
    text: str


def check_file(file: Path) -> tuple[Settings | None, list[Finding]]:
    """Return the settings of a file, None where no process starts with it, and what was found."""
    found = list(_keys(file))
    try:
        settings = load(file, ask_etcd=False)
    except ConfigurationError as error:
        found.append(Finding(ERROR, "", error.detail))
        return None, found
    for part in _PARTS:
        found += part(settings)
    return settings, found


def _keys(file: Path) -> Iterator[Finding]:
    """Name keys of the reference that are not read as they were there."""
    try:
        keys = list(keys_of(file))
    except ConfigurationError:
        return  # the load says the same
    for key, found in keys:
        match found.reading:
            case Reading.RENAMED:
                yield Finding(ERROR, key, f"is an old spelling: {found.note}.")
            case Reading.NO_EFFECT:
                instead = f": {found.note}" if found.note else ""
                yield Finding(NOTE, key, f"is set and has no effect here{instead}.")


def _volumes(settings: Settings) -> Iterator[Finding]:
    for name, table in settings.volume.items():
        yield from option_findings(settings, name)
        if settings.vfolder.worker.serves(name):
            yield from _mount(settings, name, settings.volume_path(table))
    if not settings.volume:
        yield Finding(WARNING, "volume", "names no volume: this node serves none of its own.")


def option_findings(settings: Settings, name: str) -> Iterator[Finding]:
    """Make the backend of a volume, which checks its options and touches no storage."""
    from backends.base import Mount  # noqa: PLC0415 - no other command pays for it
    from backends.mounted import unknown_options  # noqa: PLC0415 - see above
    from backends.volumes import backend_factory, create_backend  # noqa: PLC0415 - see above

    table = settings.volume[name]
    mount = Mount(name, settings.volume_path(table), table.backend_options)
    try:
        create_backend(table.backend, mount)
    except ConfigurationError as error:
        yield Finding(ERROR, f"volume.{name}", error.detail)
        return
    options_type = vars(backend_factory(table.backend)).get("options_type")
    unknown = unknown_options(mount, options_type) if options_type else {}
    for option, near in unknown.items():
        hint = f"; did you mean `{near}`?" if near else "."
        yield Finding(WARNING, f"volume.{name}.options.{option}", f"is no option{hint}")
    for option in _FILE_OPTIONS:
        value = mount.options.get(option)
        if isinstance(value, str) and not Path(value).exists():
            yield Finding(ERROR, f"volume.{name}.options.{option}", f"{value} does not exist.")


def _mount(settings: Settings, name: str, path: Path) -> Iterator[Finding]:
    from backends.fs import check_mounts  # noqa: PLC0415 - no other command pays for it

    key = f"volume.{name}.path"
    try:
        check_mounts(settings, only=name)
    except StorageError as error:
        yield Finding(ERROR, key, error.detail)
        return
    try:
        found = path.stat()
    except FileNotFoundError:
        yield Finding(WARNING, key, f"{path} is not a directory on this node; is it mounted?")
        return
    except OSError as error:
        yield Finding(ERROR, key, f"cannot read {path}: {error.strerror}.")
        return
    user = _user(settings)
    if not stat.S_ISDIR(found.st_mode):
        yield Finding(ERROR, key, f"{path} is not a directory.")
        return
    yield from _kind(settings, name, path)
    if user and not _permits(found, user, 0o3):
        yield Finding(
            WARNING,
            key,
            f"the user {user.uid} of the doors may not write to {path}; chown its top.",
        )


def _store(settings: Settings) -> Iterator[Finding]:
    """Name an embedded store without a password, and a store that only etcd knows."""
    if settings.store_is_embedded and settings.etcd is not None:
        text = "names no server: the start asks [etcd] for it, this check does not"
        alone = "; while it does not answer, " + (
            "nothing starts" if settings.vfolder.etcd.required else "the embedded store is used"
        )
        yield Finding(NOTE, "vfolder.redis", f"{text}{alone} ([vfolder.etcd] required).")
        return
    try:
        settings.check_store()
    except ConfigurationError as error:
        yield Finding(ERROR, "vfolder.redis.password", error.detail)


def _kind(settings: Settings, name: str, path: Path) -> Iterator[Finding]:
    """Prove that the mount is what the backend serves, as the start does."""
    from backends.base import Mount  # noqa: PLC0415 - no other command pays for it
    from backends.fs import translated  # noqa: PLC0415 - see above
    from backends.volumes import check_mount  # noqa: PLC0415 - see above

    table = settings.volume[name]
    try:
        with translated():
            check_mount(table.backend, Mount(name, path, table.backend_options))
    except ConfigurationError:
        return  # its options are reported already
    except StorageError as error:
        yield Finding(ERROR, f"volume.{name}.path", error.detail)


def _artifacts(settings: Settings) -> Iterator[Finding]:
    """Name what the first use of a storage or a registry would refuse."""
    for name, table in settings.artifact_storages.items():
        if table.type == "vfs_storage" and table.vfs_storage is not None:
            path = settings.directory / table.vfs_storage.base_path
            if path.exists() and not path.is_dir():
                key = f"artifact-storages.{name}.vfs-storage.base-path"
                yield Finding(ERROR, key, f"{path} is not a directory.")
    for name, registry in settings.artifact_registries.items():
        if registry.type != "reservoir" or registry.reservoir is None:
            continue
        site = registry.reservoir
        manager = (site.manager_endpoint, site.manager_access_key, site.manager_secret_key)
        if not all((*manager, site.storage_name)):
            text = "has not all of manager-endpoint, its two keys and storage-name"
            only = "imports into object storages" if site.endpoint else "no import"
            yield Finding(WARNING, f"artifact-registries.{name}", f"{text}: {only} will work.")
    yield from _verifiers(settings)


def _verifiers(settings: Settings) -> Iterator[Finding]:
    """Make each verifier, as an import does."""
    if not settings.artifact_verifiers:
        return
    from backends.volumes.artifacts import made_verifier  # noqa: PLC0415 - see above

    for name, table in settings.artifact_verifiers.items():
        try:
            made_verifier(table)
        except ConfigurationError as error:
            yield Finding(ERROR, f"artifact-verifiers.{name}", error.detail)


def _certificates(settings: Settings) -> Iterator[Finding]:
    user = _user(settings)
    for door in DOORS:
        try:
            end = certificate_end(door, settings)
        except ConfigurationError as error:
            yield Finding(ERROR, f"api.{door}", error.detail)
            continue
        if end is not None and end - time.time() < SOON_SECONDS:
            text = f"ends at {moment(end)}; put a new one in its place, which needs no restart."
            yield Finding(WARNING, f"api.{door}.ssl-cert", text)
        for key, path in certificate_files(door, settings).items():
            found = path.stat()
            if user and not _permits(found, user, 0o4):
                text = (
                    f"the user {user.uid} of the door cannot read {path}; use its group and 0640."
                )
                yield Finding(ERROR, f"api.{door}.{key}", text)
            if key == "ssl-privkey" and found.st_mode & 0o007:
                yield Finding(WARNING, f"api.{door}.{key}", _open_words(path, "0640"))


def _addresses(settings: Settings) -> Iterator[Finding]:
    seen: dict[Address, str] = {}
    for _, key, address in listen_addresses(settings):
        if address in seen:
            yield Finding(ERROR, key, f"{address} is also that of {seen[address]}; change one.")
            continue
        seen[address] = key
        user = _user(settings)
        if user and address.port < _FIRST_FREE_PORT and not user.is_root:
            text = f"the user {user.uid} may not listen at {address}; use a port from 1024 on."
            yield Finding(ERROR, key, text)
        yield from _taken(key, address)
    if not settings.vfolder.flower.password:
        yield Finding(NOTE, "vfolder.flower.password", "is not set, so Flower does not run.")


def _taken(key: str, address: Address) -> Iterator[Finding]:
    try:
        check_free(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            yield Finding(NOTE, key, f"{address} is in use: by this node, if it runs.")
        else:
            yield Finding(ERROR, key, f"{address} cannot be used: {error.strerror}.")


def _directories(settings: Settings) -> Iterator[Finding]:
    try:
        identity.configured(settings.storage_proxy)
    except ConfigurationError as error:
        yield Finding(ERROR, "storage-proxy.user", error.detail)
    state, user = settings.state_dir, _user(settings)
    if user and not identity.reads_code(user):
        yield Finding(ERROR, "storage-proxy.user", identity.unreadable_words(user))
    nearest = next(path for path in (state, *state.parents) if path.exists())
    if not nearest.is_dir():
        yield Finding(ERROR, "vfolder.state-dir", f"{nearest} is not a directory.")
    elif not os.access(nearest, os.W_OK | os.X_OK):
        yield Finding(ERROR, "vfolder.state-dir", f"this user may not write to {nearest}.")
    elif user and any(not _permits(path.stat(), user, 0o1) for path in (nearest, *nearest.parents)):
        text = f"the user {user.uid} of the doors cannot reach {state}; use /var/lib/vfolder."
        yield Finding(ERROR, "vfolder.state-dir", text)
    for root in settings.vfolder.doors.unmanaged_roots:
        if not Path(root).is_dir():
            yield Finding(WARNING, "vfolder.doors.unmanaged-roots", f"{root} is not a directory.")
    quota_socket = settings.vfolder.worker.quota_socket
    if quota_socket and not Path(quota_socket).parent.is_dir():
        text = f"{Path(quota_socket).parent} does not exist; systemd or you must make it."
        yield Finding(WARNING, "vfolder.worker.quota-socket", text)
    authority = settings.vfolder.redis.tls_ca
    if authority and not Path(authority).is_file():
        yield Finding(ERROR, "vfolder.redis.tls-ca", f"{authority} does not exist.")


def _modes(settings: Settings) -> Iterator[Finding]:
    """Name files with secrets that others may read: the configuration itself."""
    path = Path(settings.origin)
    mode = path.stat().st_mode
    if mode & 0o007:
        yield Finding(WARNING, "", _open_words(path, "0600, or 0640 with the group of the doors"))
    elif mode & 0o020:
        yield Finding(WARNING, "", f"the group of {path} may change it; set its mode to 0640.")


def _open_words(path: Path, mode: str) -> str:
    return f"other users may read {path}, which has secrets; set its mode to {mode}."


def _names(settings: Settings) -> Iterator[Finding]:
    """Name volumes that other settings speak of and that are not configured."""
    own = settings.vfolder
    required = own.mounts.require_mount
    named = {
        "vfolder.worker.volumes": own.worker.volumes,
        "vfolder.mounts.require-mount": [] if isinstance(required, bool) else required,
        "vfolder.bandwidth": list(own.bandwidth),
    }
    for key, names in named.items():
        for name in names:
            if name not in settings.volume:
                yield Finding(WARNING, key, f"names {name!r}, which is no volume of this file.")


def _access(settings: Settings) -> Iterator[Finding]:
    """Name what the API for people will miss, where it is turned on."""
    table = settings.vfolder.access
    if table is None:
        return
    home = table.home_volume(settings.volume)
    if home not in settings.volume:
        text = f"names {home!r}, which is no volume of this node; another node must serve it."
        yield Finding(NOTE, "vfolder.access.home", text)
    callout = table.callout
    files = {"client-cert": callout.client_cert, "client-key": callout.client_key, "ca": callout.ca}
    for key, name in files.items():
        if name and not (settings.directory / name).is_file():
            yield Finding(ERROR, f"vfolder.access.callout.{key}", f"{name} does not exist.")
    if not settings.vfolder.doors.trusted_proxies:
        text = "is 0: with a proxy in front, failures of one caller would make all callers pause."
        yield Finding(NOTE, "vfolder.doors.trusted-proxies", text)


_PARTS = (
    *(_volumes, _store, _artifacts, _certificates, _addresses),
    *(_directories, _modes, _names, _access),
)


def _user(settings: Settings) -> identity.Identity | None:
    """Return the user of the doors; None where the configuration leaves it open, or is wrong."""
    if settings.storage_proxy.user is None:
        return None
    try:
        return identity.configured(settings.storage_proxy)
    except ConfigurationError:
        return None


def _permits(found: os.stat_result, user: identity.Identity, bits: int) -> bool:
    """Return whether the mode of a file gives a user these rights: 4 read, 2 write, 1 enter."""
    if user.is_root:
        return True
    if found.st_uid == user.uid:
        shift = 6
    elif found.st_gid == user.gid or found.st_gid in user.groups:
        shift = 3
    else:
        shift = 0
    return (found.st_mode >> shift) & bits == bits
