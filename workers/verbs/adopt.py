"""The verb `adopt`: put everything that a quota scope holds under a limit.

A tree that another program made counts for no limit until each of its entries carries the project
id of its scope. Setting the ids takes a walk, too long for a request. If a run is killed, the next
run continues; the former limit applies until the walk is complete.
"""

from backends.base import HasAdoption
from core.errors import Unsupported
from core.jobs import Counter
from core.jobs.requests import AdoptRequest
from core.names import QuotaScope, counted, size_text
from workers.run import Context, Outcome


class Adopt:
    """One run of an adoption."""

    def __init__(self, context: Context, request: AdoptRequest) -> None:
        self._context = context
        self._run = context.run
        self._request = request
        self._scope = QuotaScope.parse(request.owner)
        self._backend = context.backend(request.volume)
        self._entries = 0

    def __call__(self) -> Outcome:
        """Set the scope's id on each entry without it, then set the limit.

        Raises:
            Unsupported: the storage system enforces no limits.
            QuotaScopeNotFound: the scope does not exist.
        """
        backend = self._backend
        adopter = backend.skill(HasAdoption)
        if adopter is None:
            raise Unsupported("The storage system of this volume enforces no limits.")
        root = self._context.root(self._request.volume)
        with backend.open_scope(self._scope):
            self._context.report(root, self._scope, continues=False)
        self._run.phase("tag")
        adopter.adopt_scope(self._scope, self._request.limit_bytes, self._count_entry)
        quota = backend.describe_scope(self._scope)
        entries = counted(self._entries, "entry", "entries")
        limit = "" if quota.limit_bytes is None else f" of {size_text(quota.limit_bytes)}"
        return Outcome(
            sentence=self._run.summary(f"put {self._scope} with {entries} under its limit{limit}"),
            result={"used_bytes": quota.used_bytes, "limit_bytes": quota.limit_bytes},
        )

    def _count_entry(self) -> None:
        """Check the run and count one entry; the backend calls it for each."""
        self._run.check()
        self._entries += 1
        self._run.count(Counter.LISTED, 1)

    def undo(self) -> None:
        """Undo nothing: ids that are set do no harm, and the limit changes only at the end."""
