"""The verb `adopt`: put all that a quota scope holds under a limit, whoever made it.

A tree that somebody else made is counted for nobody until every entry of it carries its scope's
project id. To give it takes a walk, which a request should not wait for. Killed anywhere, the next
run goes on; until the end the limit that was there holds.
"""

from backends.base import HasAdoption
from core.errors import Unsupported
from core.jobs import Counter
from core.jobs.requests import AdoptRequest
from core.names import QuotaScope
from workers.run import Context, Outcome


class Adopt:
    """One run of an adoption."""

    def __init__(self, context: Context, request: AdoptRequest) -> None:
        self._context = context
        self._run = context.run
        self._request = request
        self._scope = QuotaScope.parse(request.owner)
        self._backend = context.backend(request.volume)

    def __call__(self) -> Outcome:
        """Give what lacks it the scope's id, then set the limit.

        Raises:
            Unsupported: the storage system holds no limits.
            QuotaScopeNotFound: it does not exist.
        """
        backend = self._backend
        adopter = backend.skill(HasAdoption)
        if adopter is None:
            raise Unsupported("The storage system of this volume holds no limits.")
        root = self._context.root(self._request.volume)
        with backend.open_scope(self._scope):
            self._context.report(root, self._scope, goes_on=False)
        self._run.phase("tag")
        adopter.adopt_scope(self._scope, self._request.limit_bytes, self._seen)
        found = backend.describe_scope(self._scope)
        return Outcome(
            sentence=f"put {self._scope} under its limit",
            result={"used_bytes": found.used_bytes, "limit_bytes": found.limit_bytes},
        )

    def _seen(self) -> None:
        """Called for each entry."""
        self._run.check()
        self._run.count(Counter.LISTED, 1)

    def undo(self) -> None:
        """Nothing to undo: what carries the id is counted, and a limit comes only at the end."""
