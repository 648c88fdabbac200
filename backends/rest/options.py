"""What the options of a volume on an array have in common, and how they are read."""

from difflib import get_close_matches
from typing import TypeVar

import msgspec
from msgspec import Struct

from backends.base import Mount
from backends.rest.sessions import ArrayEndpoint
from core.errors import ConfigurationError

#: All that one act asks of an array; below the doors' own patience.
DEADLINE_SECONDS = 15.0
ANSWER_SECONDS = 10.0
T = TypeVar("T", bound="ArrayOptions")


class ArrayOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options that every array's volume may have. Never shown: passwords are among them."""

    #: A file with the authority that signed the array's certificate; None trusts the system's.
    ca_bundle: str | None = None
    verify_tls: bool = True
    #: An act that needs the array fails when it takes longer.
    deadline_seconds: float = DEADLINE_SECONDS
    #: One answer that takes longer is lost, and asked for again.
    answer_seconds: float = ANSWER_SECONDS

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def target(self, *endpoints: str) -> ArrayEndpoint:
        """Where the array answers; without `https://` in front it is meant."""
        urls = tuple(e if "://" in e else f"https://{e}" for e in endpoints)
        return ArrayEndpoint(
            endpoints=tuple(url.rstrip("/") for url in urls),
            ca_bundle=self.ca_bundle,
            verify_tls=self.verify_tls,
        )


def options_of(mount: Mount, kind: type[T]) -> T:
    """The options of a volume as its backend's type.

    Raises:
        ConfigurationError: one is missing, unknown or of another type; no value is told.
    """
    where = f"[volume.{mount.volume}.options]"
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    for name in mount.options:
        if name not in names:
            near = get_close_matches(name, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigurationError(f"{where}: there is no option {name!r}{hint}")
    try:
        return msgspec.convert(dict(mount.options), kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{where}: {error}.") from None
