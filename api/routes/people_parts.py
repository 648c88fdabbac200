"""The parts of a door that people need: subjects, credentials, audit log. Made after the fork.

A door without `[vfolder.access]` never loads this file.
"""

from functools import cached_property

from api.http.cookies import SignInCookies
from api.http.credentials import Credentials
from api.volumes import VolumeAccess
from backends.volumes.access import AccessRecords
from backends.volumes.access.subjects import SubjectStore
from core.access import AccessCache, Deciders
from core.access.audit import AuditLog
from core.access.credentials.failures import FailureLimits
from core.access.credentials.issuers import Issuers
from core.access.credentials.oidc import OidcClients
from core.access.credentials.signins import SignIns
from core.access.link_counts import LinkCounts
from core.redis import Database, connect
from core.settings import AccessTable, Settings
from core.telemetry import metrics


class PeopleParts:
    """What one process of a door has for people; each part is made at its first use."""

    def __init__(self, settings: Settings, table: AccessTable, access: VolumeAccess) -> None:
        self._settings = settings
        self._table = table
        self._access = access
        self._client = connect(settings, Database.LIVE)

    @cached_property
    def cache(self) -> AccessCache:
        """The cache of records and memberships."""
        return AccessCache(self._settings)

    @cached_property
    def records(self) -> AccessRecords:
        """The access records of vfolders."""
        return AccessRecords(
            self._settings, self._access, self.cache, self._access.directory.volumes
        )

    @cached_property
    def deciders(self) -> Deciders:
        """Who decides: the records, a policy service, or both."""
        return Deciders(self._table, self._settings.directory, self.cache)

    @cached_property
    def audit(self) -> AuditLog:
        """The audit log of this node."""
        return AuditLog(
            self._settings.state_dir, self._table, self._client, on_lost=metrics.AUDIT_LOST.inc
        )

    @cached_property
    def subjects(self) -> SubjectStore:
        """Users and groups, as their records on the home volume say."""
        return SubjectStore(
            self._table.home_volume(self._settings.volume),
            self._settings.seal_secrets,
            self._access,
            self._client,
            announce=self.cache.changed,
        )

    @cached_property
    def sign_ins(self) -> SignIns:
        """The sign-ins of browsers."""
        return SignIns(self._table, self._client)

    @cached_property
    def failures(self) -> FailureLimits:
        """The limits on refused credentials."""
        return FailureLimits(self._table, self._client)

    @cached_property
    def link_counts(self) -> LinkCounts:
        """How often links were used."""
        return LinkCounts(self._client)

    @cached_property
    def oidc(self) -> OidcClients:
        """This service as a client of issuers, for sign-ins of browsers."""
        settings = self._settings
        url = settings.vfolder.doors.client_url
        return OidcClients(self._table, settings.directory, url, settings.seal_secrets)

    @cached_property
    def credentials(self) -> Credentials:
        """The credentials of the client door: `door.people.credentials.caller(request)`."""
        return Credentials(
            self._table,
            self.subjects,
            issuers=Issuers(self._table, self._settings.directory),
            limits=self.failures,
            audit=self.audit,
            sign_ins=self.sign_ins,
            cookies=SignInCookies(self._settings),
            proxies=self._settings.vfolder.doors.trusted_proxies,
        )
