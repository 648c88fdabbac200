"""`[vfolder.access]`: people, their credentials, and who decides what they may do.

Without this table the service knows the manager and tickets alone. Durations are seconds, unless a
name ends in `-days`. `secret-file` and `token-file` name files that have the value of `secret` and
`token`; the start reads them.
"""

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from msgspec import field

from core.settings.reference import Table
from core.settings.units import origin

#: The algorithms of tokens that can be chosen (RFC 7518 §3.1, RFC 8037 §3.1).
SHARED_ALGORITHM = "HS256"
ALGORITHMS = (SHARED_ALGORITHM, "RS256", "ES256", "EdDSA")
#: A shared secret is at least as long as the digest (RFC 7518 §3.2; bytes).
SECRET_MIN_BYTES = 32
#: The audience of tickets; a token of an issuer never has it.
TICKET_AUDIENCE = "vfolder-data"
#: Longest time that a callout may take: the caller waits meanwhile (seconds).
CALLOUT_SECONDS_MAX = 30.0
#: Longest time that clocks may differ (seconds).
LEEWAY_SECONDS_MAX = 300.0
#: Keys of the file that name a file with the value of another key, by table.
_VALUE_FILES = (("issuer", "secret"), ("issuer", "client-secret"), ("callout", "token"))
#: An issuer in a URL.
_ISSUER_NAME = re.compile(r"[a-z0-9-]{1,40}")

Network = IPv4Network | IPv6Network


class IssuerTable(Table, frozen=True):
    """`[[vfolder.access.issuer]]`: one issuer of tokens (JWT, RFC 7519)."""

    #: The claim `iss` of its tokens, exactly.
    issuer: str
    #: One value of the claim `aud` of its tokens, exactly.
    audience: str
    algorithms: list[str]
    #: HS256: the shared secret.
    secret: str | None = None
    #: Where the issuer publishes its keys (JWK Set, RFC 7517 §5): a URL, or a file.
    jwks_url: str | None = None
    jwks_file: str | None = None
    #: The authority of the certificate at `jwks-url`; None trusts those of the system.
    jwks_ca: str | None = None
    #: Claims; a dot descends into an object: `realm_access.roles`.
    user_claim: str = "sub"
    name_claim: str = "preferred_username"
    groups_claim: str = "groups"
    group_admin_claim: str = ""
    roles_claim: str = "realm_access.roles"
    #: The value among the roles that makes an operator; empty: no token does.
    operator_role: str = ""
    #: How far the clocks of issuer and node may differ.
    leeway: float = 30.0
    #: A token that lives longer, from `iat` to `exp`, is refused.
    max_lifetime: float = 3600.0
    #: This service as a client of the issuer: browsers sign in there (OpenID Connect).
    client_id: str = ""
    #: The secret of the client; None is a public client, which PKCE protects alone.
    client_secret: str | None = None
    #: The issuer in the URL of its sign-in, and as people read it.
    name: str = ""
    label: str = ""
    #: What the client asks for; `openid` is one of them.
    client_scope: str = "openid profile"
    #: Such a sign-in ends after this; None: with the ID token.
    sign_in_seconds: float | None = None

    def check(self, directory: Path, other_secrets: Iterable[str]) -> None:
        """Raise ValueError when a token could be forged with this table, or none would be taken."""
        if not self.issuer or not self.audience:
            raise ValueError("issuer and audience are required")
        if self.audience == TICKET_AUDIENCE:
            raise ValueError(f"audience {TICKET_AUDIENCE!r} is that of tickets; choose another")
        self._check_algorithms()
        if SHARED_ALGORITHM in self.algorithms:
            self._check_secret(other_secrets)
        else:
            self._check_keys(directory)
        if not 0 <= self.leeway <= LEEWAY_SECONDS_MAX:
            raise ValueError(f"leeway is between 0 and {LEEWAY_SECONDS_MAX:g} seconds")
        if self.max_lifetime <= 0:
            raise ValueError("max-lifetime is a number of seconds above 0")
        if not self.user_claim:
            raise ValueError("user-claim is empty; `sub` is the usual one")
        if self.operator_role and not self.roles_claim:
            raise ValueError("operator-role needs roles-claim")
        if self.client_id:
            self._check_client()
        elif self.client_secret or self.name or self.sign_in_seconds is not None:
            raise ValueError("client-secret, name and sign-in-seconds need client-id")

    def _check_client(self) -> None:
        if SHARED_ALGORITHM in self.algorithms:
            raise ValueError("client-id needs an algorithm with public keys, such as RS256")
        if self.client_id == self.audience:
            text = "client-id is the audience, too: an ID token would be a token for the API"
            raise ValueError(text)
        check_url("issuer", self.issuer)
        if not _ISSUER_NAME.fullmatch(self.name):
            text = f"name {self.name!r} is not 1 to 40 lower-case letters, digits and hyphens"
            raise ValueError(text)
        if "openid" not in self.client_scope.split():
            raise ValueError("client-scope lacks openid")
        if self.sign_in_seconds is not None and self.sign_in_seconds <= 0:
            raise ValueError("sign-in-seconds is a number of seconds above 0")

    def _check_algorithms(self) -> None:
        if not self.algorithms:
            raise ValueError(f"algorithms is empty; name some of {', '.join(ALGORITHMS)}")
        for name in self.algorithms:
            if name.lower() == "none":
                raise ValueError("algorithms has none: such tokens are not signed")
            if name not in ALGORITHMS:
                raise ValueError(f"algorithm {name!r} is none of {', '.join(ALGORITHMS)}")
        if SHARED_ALGORITHM in self.algorithms and len(set(self.algorithms)) > 1:
            text = "HS256 stands alone: beside others, a public key could be taken for its secret"
            raise ValueError(text)

    def _check_secret(self, other_secrets: Iterable[str]) -> None:
        if self.jwks_url or self.jwks_file:
            raise ValueError("HS256 has a secret; remove jwks-url and jwks-file")
        if len((self.secret or "").encode()) < SECRET_MIN_BYTES:
            raise ValueError(f"HS256 needs a secret of at least {SECRET_MIN_BYTES} bytes")
        if self.secret in list(other_secrets):
            raise ValueError("the secret is that of tickets or of the manager; choose another")

    def _check_keys(self, directory: Path) -> None:
        if self.secret:
            raise ValueError(f"a secret is for {SHARED_ALGORITHM} alone")
        if bool(self.jwks_url) == bool(self.jwks_file):
            raise ValueError(f"{self.algorithms[0]} needs one of jwks-url and jwks-file")
        if self.jwks_url:
            check_url("jwks-url", self.jwks_url)
        for key, name in (("jwks-file", self.jwks_file), ("jwks-ca", self.jwks_ca)):
            if name and not (directory / name).is_file():
                raise ValueError(f"{key} {name} does not exist")


class CalloutTable(Table, frozen=True):
    """`[vfolder.access.callout]`: the policy service that is asked what a subject may do."""

    url: str = ""
    #: Sent as `Authorization: Bearer …`.
    token: str | None = None
    #: The certificate of this service (PEM), where the policy service wants one.
    client_cert: str | None = None
    client_key: str | None = None
    #: The authority of its certificate; None trusts those of the system.
    ca: str | None = None
    #: Longest time of a call.
    timeout: float = 1.0
    #: Without an answer a request is refused, or the records of this service decide.
    on_failure: Literal["refuse", "local"] = "refuse"

    def check(self) -> None:
        """Raise ValueError when it cannot be called."""
        if not self.url:
            raise ValueError("[vfolder.access.callout] url is missing; the decider needs it")
        check_url("[vfolder.access.callout] url", self.url)
        if not 0 < self.timeout <= CALLOUT_SECONDS_MAX:
            text = f"timeout is above 0 and at most {CALLOUT_SECONDS_MAX:g} seconds"
            raise ValueError(f"[vfolder.access.callout] {text}")
        if bool(self.client_cert) != bool(self.client_key):
            raise ValueError("[vfolder.access.callout] client-cert and client-key go together")


class AccessTable(Table, frozen=True):
    """`[vfolder.access]`: turns on the API for people; see the module."""

    #: The volume with the keys of users and what is known of them; empty: the only volume.
    home: str = ""
    #: The former `[storage-proxy] secret`: records that it sealed are still read.
    secret_previous: str | None = None
    #: Who decides: the records of this service, a policy service, or both (the lesser of the two).
    decider: Literal["local", "callout", "both"] = "local"
    callout: CalloutTable = field(default_factory=CalloutTable)
    issuer: list[IssuerTable] = field(default_factory=list)
    #: Origins (`https://ui.example`) whose pages may use the API.
    origins: list[str] = field(default_factory=list)
    #: Where operators call from.
    operator_networks: list[str] = field(default_factory=lambda: ["127.0.0.0/8", "::1/128"])
    #: Who may create a vfolder of a group.
    group_creators: Literal["admins", "members"] = "admins"
    #: An expired vfolder goes to the trash after this; 0 is never.
    expired_keep_days: float = 30.0
    #: API keys end after this, unless their maker says otherwise, and after `key-days-max` always.
    key_days: float = 90.0
    key_days_max: float = 365.0
    keys_per_user: int = 50
    #: After a rotation the old secret of a key is valid for this long.
    key_overlap_seconds: float = 86_400.0
    #: The client door as browsers reach it, for sign-ins at issuers; empty: `client-url` of
    #: `[vfolder.doors]`.
    sign_in_url: str = ""
    #: A browser's sign-in ends after this, and when it was idle for this long.
    sign_in_seconds: float = 43_200.0
    sign_in_idle_seconds: float = 3600.0
    #: Whether anyone may make and use links.
    links: bool = True
    #: Links end after this, and after `link-days-max` at the latest; 0 allows links without end.
    link_days: float = 7.0
    link_days_max: float = 90.0
    #: Failures of one network with one credential within the window, until it has to pause.
    failures: int = 5
    #: The same for one network (/24, /64) with all credentials.
    failures_per_network: int = 100
    failure_window_seconds: float = 300.0
    #: The pause begins with 2 s, and doubles with each failure up to this.
    failure_pause_max_seconds: float = 900.0
    #: Files of the audit log are kept for this long.
    audit_keep_days: float = 365.0
    #: The newest lines of the audit log are in the store, too, for looks.
    audit_recent: int = 100_000

    @property
    def operators_at(self) -> list[Network]:
        """Return the networks of operators."""
        return [ip_network(text) for text in self.operator_networks]

    def home_volume(self, volumes: Iterable[str]) -> str:
        """Return the name of the home volume: `home`, else the only one of `volumes`.

        Raises:
            ValueError: `home` is empty, and there is not one volume.
        """
        names = list(volumes)
        if self.home or len(names) == 1:
            return self.home or names[0]
        raise ValueError("[vfolder.access] home is missing; name the volume with the keys of users")

    def check_sign_in(self, client_url: str) -> None:
        """Raise ValueError where browsers sign in at issuers, and no URL brings them back."""
        if not any(one.client_id for one in self.issuer):
            return
        url = self.sign_in_url or client_url
        if not url:
            text = "is missing; name the client door as browsers reach it, or set client-url"
            raise ValueError(f"[vfolder.access] sign-in-url {text}")
        check_url("[vfolder.access] sign-in-url", url)
        if urlsplit(url).query or urlsplit(url).fragment:
            raise ValueError("[vfolder.access] sign-in-url has a query or fragment; remove it")

    def check(self, directory: Path, other_secrets: Iterable[str], volumes: Iterable[str]) -> None:
        """Raise ValueError, which names the table, when a value cannot be used."""
        self.home_volume(volumes)
        _ = [origin(text) for text in self.origins]
        for text in self.operator_networks:
            _check_network(text)
        for key, value in self._amounts():
            if value <= 0:
                raise ValueError(f"[vfolder.access] {key} is a number above 0")
        if self.key_days > self.key_days_max:
            raise ValueError("[vfolder.access] key-days is at most key-days-max")
        if self.expired_keep_days < 0:
            raise ValueError("[vfolder.access] expired-keep-days is a number, or 0 for never")
        if self.link_days_max < 0:
            raise ValueError("[vfolder.access] link-days-max is a number, or 0 for no end")
        if self.link_days_max and self.link_days > self.link_days_max:
            raise ValueError("[vfolder.access] link-days is at most link-days-max")
        if self.decider != "local":
            self.callout.check()
        self._check_issuers(directory, list(other_secrets))

    def _amounts(self) -> Iterator[tuple[str, float]]:
        for name in (
            *("key_days", "key_days_max", "keys_per_user", "sign_in_seconds"),
            *("sign_in_idle_seconds", "link_days", "failures", "failures_per_network"),
            *("failure_window_seconds", "failure_pause_max_seconds", "audit_keep_days"),
            "audit_recent",
        ):
            yield name.replace("_", "-"), getattr(self, name)

    def _check_issuers(self, directory: Path, other_secrets: list[str]) -> None:
        seen, names = set(), set()
        for number, table in enumerate(self.issuer, 1):
            where = f"[[vfolder.access.issuer]] {table.issuer or number}"
            try:
                table.check(directory, other_secrets)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            if table.issuer in seen:
                raise ValueError(f"{where}: another table has the same issuer")
            seen.add(table.issuer)
            if table.name and table.name in names:
                raise ValueError(f"{where}: another table has the same name")
            names.add(table.name)


def read_value_files(tables: dict[str, Any], directory: Path) -> None:
    """Replace keys that name a file with a secret (`secret-file`) by its content.

    Raises:
        ValueError: the file cannot be read, or the value is given twice.
    """
    own = tables.get("vfolder", {})
    access = own.get("access")
    places = [("[vfolder.notices]", own.get("notices"), "secret")]
    if isinstance(access, dict):
        places += [("[vfolder.access]", access.get(name), key) for name, key in _VALUE_FILES]
    for where, found, key in places:
        for table in found if isinstance(found, list) else [found]:
            if isinstance(table, dict) and f"{key}-file" in table:
                _read_value_file(table, key, directory, where)


def _read_value_file(table: dict[str, Any], key: str, directory: Path, where: str) -> None:
    name = str(table.pop(f"{key}-file"))
    if key in table:
        raise ValueError(f"{where} {key} and {key}-file are two values; remove one")
    try:
        table[key] = (directory / name).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ValueError(f"{where} {key}-file {name}: {reason}") from None


def _check_network(text: str) -> None:
    try:
        ip_network(text)
    except ValueError as error:
        raise ValueError(f"[vfolder.access] operator-networks: {error}") from None


def check_url(key: str, url: str) -> None:
    """Raise ValueError for a URL that another host could answer: plain http is for loopback."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"{key} {url!r} is not a URL; write https://host/path") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{key} has a password; remove it")
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))):
        raise ValueError(f"{key} {url!r} is no https URL; http is for 127.0.0.1 alone")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
