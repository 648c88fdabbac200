"""A quota scope that got a limit, and was never counted."""

from contextlib import suppress

from api.jobs import MANAGER, JobSubmission
from api.routes.door import current_door
from backends.volumes import operations
from core.errors import Locked
from core.names import QuotaScope


def count_uncounted(volume: str, scope: QuotaScope) -> None:
    """Submit a count of a scope whose limit this service enforces, if its usage is not known."""
    door = current_door()
    usage = door.volume_access.on_volume(volume, operations.describe_scope, scope)
    if usage.enforced == "soft" and usage.used_bytes is None:
        with suppress(Locked):  # a rescan of this scope is running already
            request = {"verb": "rescan", "volume": volume, "owner": str(scope)}
            door.jobs.submit(request, JobSubmission(MANAGER))
