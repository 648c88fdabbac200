"""How the manager's client reads an answer, written from the published behaviour.

See «How the manager reads answers» in docs/wire.md: the code's domain and the status decide the
error its user sees.
"""

from typing import Any

import requests

_VFOLDER = {400: "VFolderBadRequest", 404: "VFolderNotFound", 410: "VFolderGone"}
_PARTS = 3
DOMAINS = {
    "storage-proxy",
    "storage",
    "vfolder",
    "quota-scope",
    "object-storage",
    "vfs-storage",
    "artifact",
    "artifact-registry",
    "api",
    "auth",
    "bgtask",
    "backendai",
}
OPERATIONS = {
    "generic",
    "create",
    "access",
    "read",
    "update",
    "purge",
    "auth",
    "request",
    "parsing",
    "execute",
    "setup",
}
DETAILS = {
    "bad-request",
    "not-found",
    "conflict",
    "already-exists",
    "invalid-parameters",
    "data-expired",
    "unauthorized",
    "not-ready",
    "invalid-data-format",
    "internal-error",
    "unavailable",
    "unreachable",
    "not-implemented",
    "mismatch",
    "canceled",
}


class Refused(Exception):
    """An error of the manager, by its name."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def understand(response: requests.Response) -> Any:
    """The value the manager takes from an answer, or its error."""
    if 200 <= response.status_code < 300:
        if response.status_code == 204 or not response.content:
            return None
        return response.json()
    media_type = response.headers.get("Content-Type", "").partition(";")[0]
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise Refused("Passthrough")
    problem = response.json()
    if not isinstance(problem, dict):
        raise Refused("AttributeError")
    domain = known_domain(problem.get("error_code"))
    if domain == "vfolder":
        raise Refused(_VFOLDER.get(response.status_code, "VFolderOperationFailed"))
    if domain == "quota-scope" and response.status_code == 404:
        raise Refused("QuotaScopeNotFound")
    raise Refused("UnexpectedStorageProxyResponse")


def known_domain(code: object) -> str:
    """The domain of a code as the manager parses it; `vfolder` when it cannot."""
    parts = str(code).split("_")
    if len(parts) != _PARTS:
        return "vfolder"
    domain, operation, detail = parts
    known = domain in DOMAINS and operation in OPERATIONS and detail in DETAILS
    return domain if known else "vfolder"
