"""Routes for people: who asks is proven, and what the act needs is decided, before the view runs.

Each route names its act with `needs`, a row of `core.access.ACTS`. A route without a row ends the
start. A view whose act is about what only the body names decides it by `PersonRequest.decide`; an
answer without a decision never leaves.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any

from flask import Response
from msgspec import structs
from werkzeug.exceptions import NotFound as NoSuchRoute

from api.access import OPENINGS, AccessService, FoundVFolder, open_answer
from api.http import this_request
from api.routes.door import bind_log_context, current_door
from api.routes.resource import VOLUME_ERRORS, Resource, Route, View
from core.access import (
    ACTS,
    AccessRule,
    Caller,
    Decision,
    ProtectedResource,
    VFolderResource,
)
from core.errors import (
    AccessForbidden,
    ConfigurationError,
    Conflict,
    Defect,
    InvalidParameters,
    JobNotFound,
    NotFound,
    StorageError,
    Throttled,
    Unauthenticated,
    VFolderNotFound,
)
from core.jobs import Job, access_of, requests
from core.names import VFolderId

_RULE = "access_rule"
_OPERATORS = "access_rule_of_operators"
_NOTED = "audit_line_of_view"
#: The longest text of a path that a line of the audit log has (characters).
NAMED_MAX = 300
#: What is removed without the permission of an owner can be restored for so long at least.
KEEP_MIN_SECONDS = 86_400
_OPERATORS_ONLY = frozenset({"operator"})
_READS = frozenset({"GET", "HEAD"})
#: Acts that look for a vfolder in the trash only.
_IN_TRASH = frozenset({"vfolders.restore", "vfolders.purge"})


@dataclass(slots=True)
class PersonRequest:
    """A request of a person: who asks, for which act, about what; and what was decided."""

    service: AccessService
    caller: Caller
    rule: AccessRule
    #: The parameters of the path.
    path: Mapping[str, str]
    found: FoundVFolder | None = None
    job: Job | None = None
    decision: Decision | None = None
    #: The audit log has the opening already, and no line for each piece; or the view writes it.
    is_quiet: bool = False
    #: The view wrote the line of the audit log.
    is_noted: bool = False
    _resources: dict[str, ProtectedResource] = field(default_factory=dict)

    @property
    def vfolder(self) -> FoundVFolder:
        """Return the vfolder that the path names."""
        if self.found is None:
            raise Defect("The route names no vfolder.")
        return self.found

    def decide(self, act: str = "", **resources: ProtectedResource) -> Decision:
        """Decide the act of the route, or another one, with what the body names by role.

        Raises:
            VFolderNotFound, JobNotFound: the caller may not see it.
            AccessForbidden: the caller sees it and may not do this.
        """
        rule = ACTS[act] if act else self.rule
        return self._settled(rule, {**self._resources, **resources}, None)

    def _settled(
        self, rule: AccessRule, given: Mapping[str, ProtectedResource], known: Decision | None
    ) -> Decision:
        """Take a decision, `known` or not yet, and write its line."""
        try:
            if known is None:
                self.decision = self.service.allowed(self.caller, rule, given)
            else:
                self.decision = self.service.checked(known, rule, given)
        except StorageError as error:
            self.service.note_refusal(self.caller, rule, error, **self._about)
            raise
        if not self.is_quiet:
            self.service.note(self.caller, rule, self.decision, **self._about)
        return self.decision

    def decide_keeping(self, keep_seconds: float | None, **resources: ProtectedResource) -> None:
        """Decide a removal of what can be restored for so long; None is where nothing can.

        Raises:
            AccessForbidden: the time is so short that only an owner may choose it.
        """
        if keep_seconds is not None and keep_seconds < KEEP_MIN_SECONDS:
            self.decide("entries.purge", **resources)

    def refused(self, error: StorageError) -> StorageError:
        """Write the line of a refusal that no rule makes, and return the error to raise."""
        self.service.note_refusal(self.caller, self.rule, error, **self._about)
        return error

    def note(self, **facts: Any) -> None:  # noqa: ANN401 - members of a line
        """Write the line of the audit log before the change, with what only the body says.

        `facts` has `reason`, `target`, `before`, `after`.

        Raises:
            AccessUnavailable: it cannot be logged; then nothing may change.
        """
        if self.decision is None:
            raise Defect(f"The act {self.rule.name} was not decided.")
        self.service.note(self.caller, self.rule, self.decision, **{**self._about, **facts})
        self.is_noted = True

    @property
    def is_operator(self) -> bool:
        """Whether an operator asks, from where operators may."""
        return self.caller.subject.kind == "operator"

    @property
    def _about(self) -> dict[str, str | None]:
        """Return what a line of the audit log says the request is about; refused or not."""
        named = self.path.get("vfolder_id", "")[:NAMED_MAX] or None
        vfolder = self.found.reference if self.found else named
        return {"vfolder": vfolder, "job_id": self.path.get("job_id", "")[:NAMED_MAX] or None}

    def decide_job(self, body: dict[str, Any]) -> Decision:
        """Decide what a job does, by its request; a worker decides it again before it does it.

        Raises:
            InvalidParameters: the request is wrong, or people do not request such jobs.
            VFolderNotFound, AccessForbidden: see `decide`.
        """
        access = access_of(requests.parse(body))
        if access is None:
            raise InvalidParameters("People do not request jobs of this verb.")
        return self.decide(access.rule, **self.service.resources(access))

    def other_end(self, text: str) -> FoundVFolder:
        """Return the vfolder that the body names as the target, where the caller sees it.

        Raises:
            VFolderNotFound, AmbiguousReference: see `AccessService.find`.
        """
        rule = structs.replace(self.rule, needs=self.rule.needs[1:])
        return self.service.find(self.caller, rule, text)[0]

    def about_vfolder(self, text: str, *, fresh: bool = False) -> None:
        """Find the vfolder of the path; decide the act, unless it has another end.

        `fresh` reads the record's file.
        """
        found = self._decide_vfolder(text, fresh=fresh)
        bind_log_context(found.volume, found.vfolder)

    def about_place(self, volume: str, vfolder: VFolderId) -> None:
        """Find the vfolder that a body names by volume and scope, and decide the act."""
        self.found = self.service.at_place(volume, vfolder)
        resource = self.found.resource if self.found else VFolderResource(record=None)
        self._resources |= {self.rule.needs[0].role: resource, "vfolder": resource}
        self.decide()

    def _decide_vfolder(self, text: str, *, fresh: bool = False) -> FoundVFolder:
        in_trash = self.rule.name in _IN_TRASH
        try:
            found, decision = self.service.find(
                self.caller, self.rule, text, trashed=in_trash, fresh=fresh
            )
        except VFolderNotFound as error:
            self.service.note_refusal(self.caller, self.rule, error, **self._about)
            raise
        self._resources |= {self.rule.needs[0].role: found.resource, "vfolder": found.resource}
        self.found = found
        if len(self.rule.needs) == 1:  # else the body names the other end
            self._settled(self.rule, self._resources, decision)
        return found

    def about_job(self, text: str) -> None:
        """Find the job of the path, and decide the act."""
        job, resource = self.service.job(text)
        self._resources["job"] = resource
        self.decide()
        if job is None:
            raise JobNotFound("There is no such job.")
        self.job = job

    def keep_deciding(self, response: Response) -> Response:
        """Decide a long answer again and again; it ends when that is refused."""
        answer = open_answer(response)
        if answer is not None:
            asked = replace(self, is_quiet=True)
            self.service.streams.add(answer, self.caller.subject.word, asked.decide_again)
        return response

    def decide_again(self) -> None:
        """Decide as of now, with the present state of what the path names."""
        if "vfolder_id" in self.path:
            self.decide_vfolder_again(self.path["vfolder_id"])
        elif "job_id" in self.path:
            self.caller = self.service.again(self.caller)
            self.about_job(self.path["job_id"])

    def decide_vfolder_again(self, text: str) -> None:
        """Decide the act about a vfolder as of now."""
        self.caller = self.service.again(self.caller)
        self._decide_vfolder(text)


def needs(act: str, *, operators: str = "", noted: bool = False) -> Callable[[View], View]:
    """Name the row of the table of acts that a view needs.

    `operators` is another row, for operators in place of the first. With `noted` the view itself
    writes the line of the audit log (`PersonRequest.note`): only the body has the reason.

    Raises:
        ConfigurationError: the table has no such row.
    """
    rule, of_operators = _row(act), _row(operators) if operators else None

    def mark(view: View) -> View:
        setattr(view, _RULE, rule)
        setattr(view, _OPERATORS, of_operators)
        setattr(view, _NOTED, noted)
        return view

    return mark


def _row(act: str) -> AccessRule:
    rule = ACTS.get(act)
    if rule is None:
        raise ConfigurationError(f"No act is called {act}; core/access/rules.py has them all.")
    return rule


class PeopleResource(Resource):
    """A blueprint of routes for people: each view takes the `PersonRequest` as `asked`."""

    def bound(
        self, view: View, route: Route, unmanaged_answer: Callable[[], Response] | None
    ) -> View:
        """Return the view behind the decision; the body is read after it."""
        rules = _rule_of(view), getattr(view, _OPERATORS, None)
        noted = bool(getattr(view, _NOTED, False))
        inner = super().bound(view, route, unmanaged_answer)

        @wraps(view)
        def authorised(**path: str) -> Response:
            asked = begin(*rules, path, noted=noted)
            response: Response = inner(asked=asked)
            if asked.decision is None:
                raise Defect(f"The act {asked.rule.name} was not decided.")
            if noted and not asked.is_noted:
                raise Defect(f"The act {asked.rule.name} has no line in the audit log.")
            return response

        return authorised

    def documentation(self, view: View, route: Route) -> dict[str, Any]:
        """Return the members of the route in the document, with the needs of its act."""
        rule = _rule_of(view)
        refuses = (Unauthenticated, AccessForbidden, Throttled, *route.refuses)
        roles = {need.role for need in rule.needs}
        if roles & {"vfolder", "source", "target"}:
            refuses += (VFolderNotFound, Conflict, *VOLUME_ERRORS)
        if "job" in roles:
            refuses += (JobNotFound,)
        of_operators: AccessRule | None = getattr(view, _OPERATORS, None)
        if rule.subjects == _OPERATORS_ONLY:
            refuses += (NotFound,)
        doc = super().documentation(view, replace(route, refuses=refuses))
        needed: dict[str, Any] = {"act": rule.name, "needs": rule.text}
        if of_operators is not None:
            needed["operators"] = {"act": of_operators.name, "needs": of_operators.text}
        return {**doc, "x-needs": needed}


def begin(
    rule: AccessRule,
    of_operators: AccessRule | None,
    path: Mapping[str, str],
    *,
    noted: bool = False,
) -> PersonRequest:
    """Prove the caller, find what the path names, and decide what can be decided by it.

    Raises:
        Unauthenticated, Throttled: there is no valid credential.
        AccessForbidden, VFolderNotFound, JobNotFound: see `PersonRequest.decide`.
        werkzeug.exceptions.NotFound: operators do not call from there; there is no such route.
    """
    service = current_door().access
    if rule.subjects == _OPERATORS_ONLY and not service.is_operators_place():
        raise NoSuchRoute
    caller = service.caller()
    if of_operators is not None and caller.subject.kind == "operator":
        rule = of_operators
    asked = PersonRequest(service, caller, rule, path)
    reads = this_request().method in _READS
    asked.is_quiet = noted or (reads and rule.name not in OPENINGS)
    if all(need.role in ("self", "server") for need in rule.needs):
        asked.decide()  # first, so that no one learns here what exists
    if "vfolder_id" in path:
        changes = not reads and not rule.name.startswith("entries.")
        asked.about_vfolder(path["vfolder_id"], fresh=changes)
    elif "job_id" in path:
        asked.about_job(path["job_id"])
    return asked


def _rule_of(view: View) -> AccessRule:
    rule: AccessRule | None = getattr(view, _RULE, None)
    if rule is None:
        text = f"The route of {view.__name__} names no act; add @needs with a row of ACTS."
        raise ConfigurationError(text)
    return rule
