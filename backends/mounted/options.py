"""The options of mounted volumes, and how their types are checked."""

from difflib import get_close_matches

import msgspec
from msgspec import Struct

from backends.base import Mount
from core.errors import ConfigurationError


class MountedOptions(Struct, frozen=True, kw_only=True):
    """Options that a volume on any mounted directory may have: how XCP reaches it."""

    #: The command of XCP, and the host that exports the volume over NFS.
    netapp_xcp_cmd: str | list[str] | None = None
    netapp_nfs_host: str | None = None
    #: The path of the export; without it the name of the volume.
    netapp_volume_name: str | None = None
    #: Where XCP keeps its indexes: `host:/export`.
    xcp_catalog: str | None = None


def check_options(mount: Mount, kind: type[Struct]) -> None:
    """Check the type of every option of a volume that `kind` knows.

    Raises:
        ConfigurationError: an option is missing or has another type. The text has no value.
    """
    try:
        msgspec.convert(dict(mount.options), kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"[volume.{mount.volume}.options]: {_mistake(mount, kind, error)}"
        ) from None


def _mistake(mount: Mount, kind: type[Struct], error: msgspec.ValidationError) -> str:
    """Return what is wrong with the options; a kind may refuse those that it does not know."""
    for option, near in unknown_options(mount, kind).items():
        if f"unknown field `{option}`" in str(error):
            return f"`{option}` is no option" + (f"; did you mean `{near}`?" if near else ".")
    return f"{error}."


def unknown_options(mount: Mount, kind: type[Struct]) -> dict[str, str | None]:
    """Return each option that `kind` does not know, with the nearest known name."""
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    return {
        name: next(iter(get_close_matches(name, names, 1)), None)
        for name in mount.options
        if name not in names
    }
