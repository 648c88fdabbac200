"""netapp: the options of a volume."""

import os
from typing import Literal

from msgspec import field

from backends.mounted.rest import ArrayEndpoint, ArrayOptions
from core.errors import ConfigurationError

#: The attribute cache of an NFS client may hide a new qtree for 30 seconds (acdirmin).
ATTRIBUTE_SECONDS = 45.0
#: The options of each way to log in; all of them are needed.
_WAYS = {
    "password": ("netapp_ontap_user", "netapp_ontap_password"),
    "certificate": ("netapp_client_certificate", "netapp_client_key"),
    "oauth": ("netapp_oauth_token_url", "netapp_oauth_client_id", "netapp_oauth_client_secret"),
}
Way = Literal["password", "certificate", "oauth"]


class NetAppOptions(ArrayOptions, frozen=True, kw_only=True):
    """Options of a volume on ONTAP; the prefix `netapp_` marks those of Backend.AI's proxy."""

    netapp_ontap_endpoint: str
    #: Further addresses of the cluster or the SVM, asked when the first one is away.
    netapp_ontap_endpoints: list[str] = field(default_factory=list)
    netapp_ontap_user: str | None = None
    netapp_ontap_password: str | None = None
    #: Files with a certificate that ONTAP knows a user by, and with its key (PEM).
    netapp_client_certificate: str | None = None
    netapp_client_key: str | None = None
    #: The authorization server that ONTAP trusts: client credentials (RFC 6749 section 4.4).
    netapp_oauth_token_url: str | None = None
    netapp_oauth_client_id: str | None = None
    netapp_oauth_client_secret: str | None = None
    netapp_oauth_scope: str | None = None
    #: A file with the CA of the authorization server; None uses the system's CAs.
    netapp_oauth_ca_bundle: str | None = None
    netapp_volume_name: str
    #: Required when the volume's name exists in several SVMs.
    netapp_svm: str | None = None
    #: For new quota scopes; None leaves them to ONTAP, which takes those of the volume.
    netapp_export_policy: str | None = None
    netapp_security_style: Literal["unix", "mixed", "ntfs"] | None = None
    #: For bulk copies, used by `backends.transfer.xcp`.
    xcp_catalog: str | None = None
    netapp_nfs_host: str | None = None
    netapp_xcp_cmd: list[str] = field(default_factory=list)
    #: `auto` allows switching quota off and on where ONTAP needs that to enforce a limit.
    netapp_quota_reinit: Literal["never", "auto"] = "never"
    #: Let ONTAP remove purged trees, as its own job.
    netapp_async_delete: bool = False
    #: How long a new quota scope may stay invisible on the mount.
    netapp_attribute_seconds: float = ATTRIBUTE_SECONDS

    @property
    def login(self) -> Way:
        """Return the one way to log in that the options describe completely.

        Raises:
            ConfigurationError: there is none, or more than one; or a file cannot be read.
        """
        begun = [way for way, names in _WAYS.items() if any(getattr(self, n) for n in names)]
        if len(begun) != 1:
            ways = "; or ".join(
                ", ".join(f"`{name}`" for name in names) for names in _WAYS.values()
            )
            raise ConfigurationError(f"ONTAP needs one way to log in: {ways}.")
        missing = [name for name in _WAYS[begun[0]] if not getattr(self, name)]
        if missing:
            raise ConfigurationError(f"`{missing[0]}` is missing for the login at ONTAP.")
        if begun[0] == "certificate":
            for name in _WAYS["certificate"]:
                if not os.access(getattr(self, name), os.R_OK):
                    raise ConfigurationError(f"The file that `{name}` names cannot be read.")
        found: Way = begun[0]  # type: ignore[assignment] # a key of `_WAYS`
        return found

    @property
    def cluster(self) -> ArrayEndpoint:
        """Return where ONTAP is, and how both sides prove what they are."""
        endpoints = (self.netapp_ontap_endpoint, *self.netapp_ontap_endpoints)
        own = (self.netapp_client_certificate, self.netapp_client_key)
        given = (own[0], own[1]) if own[0] and own[1] else None
        return self.target(*endpoints, client_certificate=given)
