"""Who asks, by which credential, and the status that the table of acts has for it.

What an actor has is written down here by hand, as the stage gives it; what an act needs is read
from `core.access.ACTS`. Nothing of the code that decides is used.
"""

from dataclasses import dataclass, field, replace

from core.access import ACTS, AccessRule, Permission, Scope
from core.access.decisions.rules import Need
from core.access.permissions import PERSON_SCOPES
from tests.api.people.conftest import Person
from tests.api.people.matrix.rows import Row

SAFE = ("GET", "HEAD")
#: To go on with an upload: `entries.write`, for the one who began it.
UPLOADS_OWN = "uploads.own"
#: Of all actors: what a browser's page of this service sends with a change.
OWN_PAGE = {"X-VFolder": "1"}


@dataclass(frozen=True)
class Means:
    """A credential as a request carries it, and what it is good for."""

    name: str
    headers: dict[str, str] = field(default_factory=dict)
    #: Of the path.
    query: str = ""
    #: Whether it proves its holder.
    proved: bool = True
    scopes: frozenset[Scope] = PERSON_SCOPES
    #: The only scope that it lacks.
    lacks: Scope | None = None
    #: Of a key that is bound to vfolders: whether that of the stage is one of them.
    bound: bool = False
    covers: bool = True
    #: Of a cookie: whether a page of this service sends it.
    own_page: bool = True


@dataclass(frozen=True)
class Actor:
    """A subject, and what it has on the vfolder of its stage."""

    name: str
    person: Person
    permission: str = "none"
    kind: str = "user"
    #: What it is in the group of the stage.
    in_group: str = ""
    #: Whether it requested the job and began the upload.
    began: bool = False
    #: As what the record names it, where a deed is about that: `next_owner`, `grantee`.
    named: frozenset[str] = frozenset()
    #: Whether its requests come by a proxy that is not trusted.
    far: bool = False
    #: Whether the vfolder has expired.
    expired: bool = False
    means: tuple[Means, ...] = ()

    def by(self, *means: Means) -> "Actor":
        """The actor with these credentials."""
        return replace(self, means=(*self.means, *means))


def expected(row: Row, actor: Actor, means: Means) -> int:
    """The status of a request."""
    rules = [rule_of(act) for act in row.acts]
    if rules[0] and rules[0].subjects == {"operator"} and actor.far:
        return 404
    if not means.own_page and row.method not in SAFE:
        return 403
    if not means.proved:
        return 401
    if row.absent:
        return 404
    operates = actor.kind == "operator"
    acts = (operates and row.of_operators.split()) or row.acts
    return next(filter(None, (refused(act, actor, means) for act in acts)), row.allowed)


def rule_of(act: str) -> AccessRule | None:
    """The row of an act; None for `group.read`, which is of this table alone."""
    return ACTS.get("entries.write" if act == UPLOADS_OWN else act.removesuffix("?"))


def refused(act: str, actor: Actor, means: Means) -> int:
    """The status of a refused act; 0 when it is allowed."""
    if act == "group.read":
        return 0 if actor.in_group else refused("groups.manage", actor, means)
    if act == UPLOADS_OWN:
        return refused("entries.write", actor, means) if actor.began else 404
    rule = rule_of(act)
    assert rule is not None, act
    if act.endswith("?"):
        first = rule.needs[0]
        has = _permission(actor, means, first)
        return 404 if first.role in ("vfolder", "source") and has is Permission.NONE else 0
    return next(filter(None, (unmet(need, actor, means) for need in rule.needs)), 0)


def unmet(need: Need, actor: Actor, means: Means) -> int:
    """The status where a need is not met; 0 when it is."""
    lacks = 0 if need.scopes <= means.scopes else 403
    match need.role:
        case "self":
            return lacks
        case "server":
            return _unmet_by_operator(need, means) if actor.kind == "operator" else 403
        case "scope":
            return 403 if means.bound else _unmet_in_scope(need, actor, means)
        case _:
            seen = means.covers and _is_seen(need, actor, means)
            return _unmet_on_vfolder(need, actor, means) if seen else 404


def _is_seen(need: Need, actor: Actor, means: Means) -> bool:
    """Whether the actor learns that what the need is about is there."""
    operates = actor.kind == "operator" and need.operator is not None
    requested = need.role == "job" and actor.began
    named = bool(need.person) and need.person in actor.named
    return operates or requested or named or _permission(actor, means, need) > Permission.NONE


def _unmet_on_vfolder(need: Need, actor: Actor, means: Means) -> int:
    lacks = 0 if need.scopes <= means.scopes else 403
    has = _permission(actor, means, need)
    if need.role == "job" and actor.began:
        return lacks
    if actor.kind == "operator" and need.operator is not None and has < need.permission:
        return _unmet_by_operator(need, means)
    if need.person:
        return lacks if need.person in actor.named else 403
    return 403 if has < need.permission else lacks


def _unmet_by_operator(need: Need, means: Means) -> int:
    return 0 if need.operator in means.scopes else 403


def _unmet_in_scope(need: Need, actor: Actor, means: Means) -> int:
    """A need in a quota scope: that of the group where the need is of groups, else one's own."""
    lacks = 0 if need.scopes <= means.scopes else 403
    if need.operator is None or actor.in_group == "admin":
        return lacks
    if actor.kind == "operator":
        return _unmet_by_operator(need, means)
    return 403 if actor.in_group else 404


def _permission(actor: Actor, means: Means, need: Need) -> Permission:
    """What an actor has on the vfolder by a credential."""
    has = Permission.parse(actor.permission) if means.covers else Permission.NONE
    lowered = actor.expired and not need.when_expired and need.role != "job"
    return min(has, Permission.RO) if lowered else has
