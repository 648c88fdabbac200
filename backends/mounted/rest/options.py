"""The common options of volumes on arrays, and how to parse them."""

from difflib import get_close_matches
from typing import TypeVar

import msgspec
from msgspec import Struct

from backends.base import Mount
from backends.mounted.rest.sessions import ArrayEndpoint
from core.errors import ConfigurationError

#: Longest time for all requests of one operation; shorter than the doors' own limit (seconds).
DEADLINE_SECONDS = 15.0
ANSWER_SECONDS = 10.0
T = TypeVar("T", bound="ArrayOptions")


class ArrayOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options that a volume of any array may have; never shown, as they contain passwords."""

    #: A file with the CA of the array's certificate; None uses the system's CAs.
    ca_bundle: str | None = None
    verify_tls: bool = True
    #: An operation that needs the array fails after this time (seconds).
    deadline_seconds: float = DEADLINE_SECONDS
    #: One answer that takes longer is lost, and requested again (seconds).
    answer_seconds: float = ANSWER_SECONDS

    @property
    def verifies(self) -> bool:
        """Return whether the array's certificate is verified; subclasses have more such options."""
        return self.verify_tls

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def target(
        self, *endpoints: str, client_certificate: tuple[str, str] | None = None
    ) -> ArrayEndpoint:
        """Return the address of the array; `https://` is added where it is missing."""
        urls = tuple(e if "://" in e else f"https://{e}" for e in endpoints)
        return ArrayEndpoint(
            endpoints=tuple(url.rstrip("/") for url in urls),
            ca_bundle=self.ca_bundle,
            verify_tls=self.verifies,
            client_certificate=client_certificate,
        )


def options_of(mount: Mount, kind: type[T]) -> T:
    """Parse the options of a volume as the type of its backend.

    Raises:
        ConfigurationError: an option is missing, unknown or has another type. The text has no
        value.
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
