"""What verifiers found in a model, in the fields that managers read.

A manager that cannot read a field does not learn that the import has ended. So every result is
checked against these types before it is passed on.
"""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from core.errors import RegistryRefused


class VerifierResult(Struct, frozen=True, kw_only=True):
    """What one verifier found."""

    success: bool
    #: Files that it refuses.
    infected_count: int
    #: When it began.
    scanned_at: datetime
    #: How long it took (seconds).
    scan_time: float
    scanned_count: int
    metadata: dict[str, str]
    #: Why it is no success.
    error: str | None = None


class VerificationResult(Struct, frozen=True, kw_only=True):
    """What all verifiers found, by their names."""

    verifiers: dict[str, VerifierResult]

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def parsed_result(value: object) -> VerificationResult:
    """Return what another site's manager says.

    Raises:
        RegistryRefused: a field is missing, or has another type.
    """
    try:
        return msgspec.convert(value, VerificationResult)
    except (msgspec.ValidationError, RecursionError) as error:
        raise RegistryRefused("The manager answers no result of verifiers.") from error
