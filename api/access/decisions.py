"""The one place of a door where access is decided: from a request to a caller and a decision."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from msgspec import structs

from api.access.holders import Holders, check_not_ended
from api.access.openings import Openings
from api.access.parts import AccessParts
from api.access.records import AmbiguousReference, FoundVFolder, VFolders, scopes_of
from api.access.streams import PersonStreams
from api.http import this_request
from api.jobs import Jobs, JobSubmission, pointer, reports
from api.volumes import VolumeAccess
from backends.volumes.access import KnownVFolder, resources_of
from core.access import (
    ACTS,
    PERSON_SCOPES,
    AccessReason,
    AccessRule,
    Caller,
    CredentialFacts,
    Decision,
    JobResource,
    PersonClaims,
    ProtectedResource,
    Subject,
    VFolderRecord,
    VFolderResource,
    covers_places,
    records,
)
from core.errors import (
    AccessForbidden,
    ConfigurationError,
    DeadlineExceeded,
    InvalidName,
    JobNotFound,
    StorageError,
    Unavailable,
    UnknownVolume,
    VFolderNotFound,
)
from core.jobs import Job, JobAccess, requests
from core.names import VFolderId
from core.settings import Settings

#: What a caller reads who may not see a vfolder, and the one who names one that does not exist.
_NO_VFOLDER = "There is no such vfolder."
_NO_JOB = "There is no such job."


#: How long a door believes that a volume lacks an id which another one has (seconds), of how many.
ABSENT_SECONDS = 0.9
ABSENT_MAX = 10_000
#: Most decisions that a process keeps.
DECISIONS_MAX = 10_000
#: Acts whose allowed openings are in the audit log, and the ends of those that are mere looks.
OPENINGS = frozenset({"entries.read", "link.read"})
_LOOKS = (".read", ".list", ".own")


class _KeptDecision(NamedTuple):
    """A decision that is yes, its end (seconds of the epoch), and what keeps its place its own."""

    decision: Decision
    ends: float | None
    basis: tuple[object, ...]


class AccessService:
    """Who asks, what is meant, and whether it is allowed, for one process of a door."""

    def __init__(
        self, settings: Settings, access: VolumeAccess, jobs: Jobs, parts: AccessParts
    ) -> None:
        table = settings.vfolder.access
        if table is None:
            raise ConfigurationError("The table [vfolder.access] is missing.")
        self._settings = settings
        self._table = table
        self._access = access
        self._jobs = jobs
        self.parts = parts
        self.deciders = parts.deciders
        self.vfolders = VFolders(settings, access, parts.records)
        self.streams = PersonStreams()
        #: By the text of an id: the volumes that lack it, and until when (monotonic seconds).
        self._absent: dict[str, tuple[dict[str, None], float]] = {}
        #: The names of all volumes, and the nodes that they were read from.
        self._all_volumes: tuple[object, list[str]] | None = None
        self.holders = Holders(parts)
        #: By the identities of what they rest on, which live as long as they.
        self._decisions: dict[tuple[int, int, int, str], _KeptDecision] = {}
        self._openings = Openings(parts.audit.note)

    # -- Who asks ----------------------------------------------------------------------------------
    def caller(self) -> Caller:
        """Return who sends the current request.

        Raises:
            Unauthenticated, Throttled: it has no valid credential.
        """
        caller = self.parts.credentials.caller(this_request())
        check_not_ended(caller.credential)
        return caller

    def caller_on_behalf(self, user: UUID) -> Caller:
        """Return the manager as it asks for a user: what that user may counts, with its groups."""
        subject = Subject(kind="user", id=user, on_behalf=True)
        request = this_request()
        return Caller(
            subject=self.parts.subjects.completed(subject),
            credential=CredentialFacts(kind="secret", id="manager", scopes=PERSON_SCOPES),
            address=request.remote_addr or "",
            request_id=request.request_id or "",
        )

    def is_operators_place(self) -> bool:
        """Return whether operators may call from where the current request comes from."""
        return self.parts.credentials.is_operators_place(this_request())

    @property
    def features(self) -> list[str]:
        """Return what this server can do for people."""
        return [
            *("copies", "entries", "events", "grants", "jobs"),
            *(("links",) if self._table.links else ()),
            *("notices", "ownership", "quotas", "snapshots", "tickets", "trash", "uploads"),
            "vfolders",
        ]

    @property
    def members_may_create(self) -> bool:
        """Return whether each member of a group may make vfolders of it, or only its admins."""
        return self._table.group_creators == "members"

    def claims(self, caller: Caller, record: VFolderRecord | None = None) -> PersonClaims:
        """Return the requester of a job, or the holder of a ticket for a vfolder.

        For a ticket it is short enough for a URL: of the groups it has those that the record names,
        unless a policy service looks at others.
        """
        subject, credential = caller.subject, caller.credential
        groups, admin_of = subject.groups, subject.admin_of
        if credential.kind == "secret":  # on behalf of a user, whose groups are known here
            groups = admin_of = frozenset()
        if record is not None and self._table.decider == "local":
            named = records.groups_of(record)
            groups, admin_of = groups & named, admin_of & named
        return PersonClaims(
            sub=subject.word,
            cid=f"{credential.kind}:{credential.id}",
            groups=sorted(groups, key=str),
            admin_of=sorted(admin_of, key=str),
        )

    def again(self, caller: Caller) -> Caller:
        """Return a caller as of now; see `Holders.again`."""
        return self.holders.again(caller)

    def check_ticket(self, claims: PersonClaims, volume: str, vfolder: VFolderId, act: str) -> None:
        """Decide the act of a person's ticket as of now.

        Raises:
            Unauthenticated: its credential has ended.
            VFolderNotFound, AccessForbidden: the permission is gone.
        """
        rule = ACTS[act]
        known, facts = self.holders.of_ticket(claims)
        # The ticket was issued to a credential with these scopes.
        given = CredentialFacts(kind="ticket", id=claims.cid, scopes=rule.scopes)
        caller = Caller(subject=known, credential=facts or given)
        found = FoundVFolder(self.parts.records.read(volume, vfolder))
        self.allowed(caller, rule, {"vfolder": found.resource})

    # -- Audit -------------------------------------------------------------------------------------
    def note(self, caller: Caller, rule: AccessRule, decision: Decision, **about: Any) -> None:  # noqa: ANN401 - members of a line
        """Write the line of an allowed act, before it begins; looks at lists write none.

        `about` has what it is about, by the members of a line: `vfolder`, `job_id`.

        Raises:
            AccessUnavailable: a change cannot be logged; then it is refused.
        """
        from core.access.audit import entry_of  # noqa: PLC0415 - most doors do not need it

        def entry() -> Any:  # noqa: ANN401 - AuditEntry, which is loaded late
            return entry_of(
                caller,
                rule.name,
                "allowed",
                need=decision.needed.word,
                have=decision.permission.word,
                via=decision.via,
                decider=decision.decider,
                **about,
            )

        if rule.name in OPENINGS:
            self._openings.add(entry)
        elif not rule.name.endswith(_LOOKS):
            self.parts.audit.write(entry())

    def note_refusal(
        self,
        caller: Caller,
        rule: AccessRule,
        error: StorageError,
        **about: Any,  # noqa: ANN401 - as `note`
    ) -> None:
        """Write the line of a refused act; see `note`."""
        from core.access.audit import entry_of  # noqa: PLC0415 - most doors do not need it

        facts = error.facts
        entry = entry_of(
            caller,
            rule.name,
            "refused",
            need=facts.get("needed"),
            have=facts.get("have"),
            reason=facts.get("reason", "hidden"),
            **about,
        )
        self.parts.audit.note(entry)

    # -- Decide ------------------------------------------------------------------------------------
    def allowed(
        self, caller: Caller, rule: AccessRule, resources: Mapping[str, ProtectedResource]
    ) -> Decision:
        """Return the decision of an act, which is yes.

        Raises:
            VFolderNotFound, JobNotFound: the caller may not see what it is about.
            AccessForbidden: the caller sees it and may not do this.
        """
        return self.checked(self.deciders.decide_rule(caller, rule, resources), rule, resources)

    def checked(
        self, decision: Decision, rule: AccessRule, resources: Mapping[str, ProtectedResource]
    ) -> Decision:
        """Return a decision, which is yes; raise as `allowed` when it is no."""
        if decision.allowed:
            return decision
        if decision.hidden:
            raise _absent(rule)
        raise AccessForbidden(_advice(rule, decision, resources), **decision.facts)

    def find(
        self,
        caller: Caller,
        rule: AccessRule,
        text: str,
        *,
        trashed: bool = False,
        fresh: bool = False,
    ) -> tuple[FoundVFolder, Decision]:
        """Return the vfolder that a path names, of those that the caller may see, and its decision.

        The decision is about the first need of the act.

        A live one comes first, where the act is also for those in the trash; with `trashed` only
        those in the trash count. `fresh` reads the files: a change starts from what they say now.
        A volume that is away hinders changes, because the id may be there, too, but no look.

        Raises:
            VFolderNotFound: there is none, or the caller may see none.
            AmbiguousReference: the id is on several volumes.
            Unavailable, DeadlineExceeded: a volume is away that may have it.
        """
        away = list[StorageError]()
        if fresh:
            look = self._look(caller)
            live = look(text, fresh=True)
        else:
            live = self._live(caller, text, away)
        if away and not rule.name.endswith(".read"):
            raise away[0]
        seen = [] if trashed else self._seen(caller, rule, map(FoundVFolder, live))
        if not seen and any(need.in_trash for need in rule.needs):
            seen = self._seen(caller, rule, self._trashed(caller.subject, text))
        if not seen:  # what is hidden must look as what is absent does
            raise away[0] if away else VFolderNotFound(_NO_VFOLDER)
        if len(seen) > 1:
            raise AmbiguousReference(
                "The id is on several volumes; write one of `choices` in its place.",
                choices=sorted(found.reference for found, _ in seen),
            )
        return seen[0]

    def _look(self, caller: Caller) -> Callable[..., list[KnownVFolder]]:
        """Return what finds the live vfolders of an id, as `AccessRecords.find` does.

        A mere user sees nothing outside of the own scopes that has no record. A policy service may
        let anybody see anything.
        """
        subject = caller.subject
        bounded = subject.kind == "user" and self._table.decider == "local"
        within = partial(_own_directories, subject) if bounded else None
        return partial(self.parts.records.find, user=subject.id, within=within)

    def _live(self, caller: Caller, text: str, away: list[StorageError]) -> list[KnownVFolder]:
        """Return the live vfolders of an id, without a look at volumes that had none just now.

        The error of each volume that does not answer is added to `away`.
        """
        look = self._look(caller)
        if ":" in text:
            return look(text)
        now = time.monotonic()
        absent = self._absent.get(text, ({}, 0.0))
        known = absent[0] if now < absent[1] else {}
        volumes = [name for name in self.volumes() if name not in known]
        found: list[tuple[str, list[KnownVFolder]]] = []
        for name in volumes:
            try:
                found.append((name, look(f"{name}:{text}")))
            except (Unavailable, DeadlineExceeded) as error:
                away.append(error)
        lacking = dict.fromkeys(name for name, one in found if not one)
        if lacking and len(lacking) < len(found):  # an id that is nowhere may be made at any moment
            if len(self._absent) >= ABSENT_MAX:
                self._absent.clear()
            self._absent[text] = lacking, now + ABSENT_SECONDS
        return [one for _, some in found for one in some]

    def _trashed(self, subject: Subject, text: str) -> Iterator[FoundVFolder]:
        """Yield the latest deletion of a vfolder on each volume, in the scopes of the subject.

        Only an owner finds what is in the trash.
        """
        named, _, identity = text.rpartition(":")
        try:
            vfolder = VFolderId.parse(identity).id
        except InvalidName:
            return
        for volume in [named] if named else self.volumes():
            for scope in scopes_of(subject):
                kept = self.vfolders.trashed_in(volume, scope)
                yield from islice((one for one in kept if one.vfolder.id == vfolder), 1)

    def _seen(
        self, caller: Caller, rule: AccessRule, found: Iterable[FoundVFolder]
    ) -> list[tuple[FoundVFolder, Decision]]:
        """Return those that the caller sees; of an act with two ends, the first need counts."""
        first = rule if len(rule.needs) == 1 else structs.replace(rule, needs=rule.needs[:1])
        decided = [(one, self._decided(caller, first, one)) for one in found]
        return [seen for seen in decided if not seen[1].hidden]

    def _decided(self, caller: Caller, rule: AccessRule, found: FoundVFolder) -> Decision:
        """Decide an act about one vfolder; a yes is kept while all that it rests on is the same.

        The cache of records and that of credentials give the same objects until they look again.
        """
        subject, credential, known = caller.subject, caller.credential, found.known
        place = id(subject), id(credential), id(known), rule.name
        kept = self._decisions.get(place)
        if kept is not None and (kept.ends is None or time.time() < kept.ends):
            return kept.decision
        decision = self.deciders.decide_rule(caller, rule, {_role(rule): found.resource})
        if decision.allowed and self._table.decider == "local" and not found.trash:
            if len(self._decisions) >= DECISIONS_MAX:
                self._decisions.clear()
            basis = subject, credential, known
            self._decisions[place] = _KeptDecision(decision, decision.expires_at, basis)
        return decision

    def volumes(self) -> list[str]:
        """Return the names of all volumes of the cluster."""
        nodes = self._access.directory.nodes()
        if self._all_volumes is None or self._all_volumes[0] is not nodes:
            names = {*self._settings.volume, *self._access.directory.volumes()}
            self._all_volumes = nodes, sorted(names)
        return self._all_volumes[1]

    def volumes_of(self, caller: Caller) -> list[str]:
        """Return the names of the volumes that a caller may use."""
        bound = caller.credential.volumes
        return [name for name in self.volumes() if bound is None or name in bound]

    def volume_for(self, caller: Caller, name: str | None) -> str:
        """Return the volume that a request names, or the only one that the caller may use.

        Raises:
            UnknownVolume: the caller may use none of this name.
            InvalidParameters: it may use several, and the request names none.
        """
        known = self.volumes_of(caller)
        if name is None and len(known) == 1:
            return known[0]
        if name is None:
            raise pointer("volume", f"is missing; it is one of {', '.join(known)}")
        if name not in known:
            raise UnknownVolume("No volume of that name is configured.", volume=name)
        return name

    def changed(
        self, found: FoundVFolder, change: Callable[[VFolderRecord], VFolderRecord]
    ) -> FoundVFolder:
        """Write a changed record of a live vfolder; see `AccessRecords.change`."""
        return FoundVFolder(self.parts.records.change(found.known, change))

    def known(
        self, caller: Caller, volumes: list[str], away: set[str], *, trashed: bool
    ) -> Iterator[FoundVFolder]:
        """Yield the live vfolders of a caller and those shared with it, or those in its trash.

        The names of volumes that do not answer are added to `away`.
        """
        look = self.vfolders.trashed_in if trashed else self.vfolders.of_scope
        for scope in scopes_of(caller.subject):
            for volume in volumes:
                try:
                    yield from () if volume in away else look(volume, scope)
                except (Unavailable, DeadlineExceeded):
                    away.add(volume)
        if not trashed:
            yield from self.vfolders.shared(caller.subject, volumes, away)

    def may_write(self, caller: Caller, volume: str, vfolder: str) -> bool:
        """Return whether a caller may send files to a vfolder now; it sees it then, too."""
        resource = self._named(volume, VFolderId.parse(vfolder))
        rule = ACTS["entries.write"]
        return self.deciders.decide_rule(caller, rule, {"vfolder": resource}).allowed

    def at_place(self, volume: str, vfolder: VFolderId) -> FoundVFolder | None:
        """Return the live vfolder of a place, without a decision; None where there is none.

        Raises:
            Unavailable, DeadlineExceeded: the volume is away.
        """
        try:
            return FoundVFolder(self.parts.records.read(volume, vfolder))
        except (VFolderNotFound, UnknownVolume):
            return None

    # -- Jobs --------------------------------------------------------------------------------------
    def job(self, text: str) -> tuple[Job | None, JobResource | VFolderResource]:
        """Return a job and what a decision about it looks at; absent where there is no such job."""
        try:
            job = self._jobs.store.get(text)
        except JobNotFound:
            return None, VFolderResource(record=None)
        places = vfolders_of(job)
        named = [self._named(volume, vfolder) for volume, vfolder in places]
        resource = JobResource(
            requester=str(job.fields.get("requester", "")),
            vfolders=tuple(named),
            target=named[-1] if named else None,
            places=tuple((volume, vfolder.id) for volume, vfolder in places),
        )
        return job, resource

    def _named(self, volume: str, vfolder: VFolderId) -> VFolderResource:
        """Return a vfolder of a job; one that is gone or away counts as absent."""
        try:
            known = self.parts.records.read(volume, vfolder)
        except (VFolderNotFound, UnknownVolume, Unavailable, DeadlineExceeded):
            return VFolderResource(record=None)
        return FoundVFolder(known).resource

    def is_covered(self, caller: Caller, job: Job) -> bool:
        """Return whether a job of a list is one that the caller's credential is good for."""
        places = [(volume, vfolder.id) for volume, vfolder in vfolders_of(job)]
        return covers_places(caller.credential, places)

    def submit(
        self, caller: Caller, body: dict[str, Any], idempotency_key: str = "", **more: str
    ) -> Job:
        """Record a job that the caller requests, with `more` members; see `Jobs.submit`."""
        submission = self.submission(caller, idempotency_key=idempotency_key, **more)
        return self._jobs.submit(body, submission)

    def submission(self, caller: Caller, **more: Any) -> JobSubmission:  # noqa: ANN401 - members of JobSubmission
        """Return what is recorded of a job beside its request: who requests it, and `more`."""
        person = self.claims(caller) if caller.subject.id else None
        return JobSubmission(requester=caller.subject.word, person=person, **more)

    def resources(self, access: JobAccess) -> dict[str, ProtectedResource]:
        """Return by role what a job is about, as of now."""
        return resources_of(access, self.parts.records, members_may=self.members_may_create)


def vfolders_of(job: Job) -> list[tuple[str, VFolderId]]:
    """Return the vfolders that a job names with their volumes; its target comes last."""
    request = requests.parse(reports.full_request(job))
    pairs = [(request.volume, getattr(request, name, None)) for name in ("vfolder", "source")]
    pairs.append((request.home, getattr(request, "target", None)))
    found = []
    for volume, text in pairs:
        with suppress(InvalidName):
            if isinstance(text, str) and text:
                found.append((volume, VFolderId.parse(text)))
    return found


def _own_directories(subject: Subject) -> list[str]:
    """Return the directories of a subject's scopes, and that of vfolders without a scope."""
    return [".", *(scope.directory for scope in scopes_of(subject))]


def _role(rule: AccessRule) -> str:
    return rule.needs[0].role


def _absent(rule: AccessRule) -> StorageError:
    if _role(rule) == "job":
        return JobNotFound(_NO_JOB)
    return VFolderNotFound(_NO_VFOLDER)


def _advice(
    rule: AccessRule, decision: Decision, resources: Mapping[str, ProtectedResource]
) -> str:
    """Return what is missing, and who can give it."""
    if decision.reason is AccessReason.CREDENTIAL_SCOPE:
        scopes = ", ".join(sorted(rule.scopes))
        return f"The credential lacks a scope; to {rule.summary} it needs {scopes}."
    if decision.reason is AccessReason.VFOLDER_EXPIRED:
        return "The vfolder has expired and is read-only now; ask its owner for more time."
    resource = next(iter(resources.values()), None)
    if isinstance(resource, VFolderResource) and resource.record is not None:
        owner = resource.record.owner
        name = owner.name or owner.word
        return f"To {rule.summary} takes {decision.needed.word}; ask the owner, {name}, for it."
    return f"You may not {rule.summary} here."
