"""The verb `describe`: publish readme and size of each revision that a scan has found.

Readers of the event stream see its last 128 entries only. So the events are paced: a reader has
seconds to take them, and the events of jobs stay in the stream.
"""

import time
from concurrent.futures import ThreadPoolExecutor

from backends.systems.registries import Hub
from backends.volumes.artifacts import ArtifactRegistries
from core.errors import StorageError
from core.events import EventPublisher, metadata_event
from core.jobs import Counter, State
from core.jobs.requests import DescribeRequest, ModelRevision
from core.names import counted
from core.telemetry import logger
from workers.run import Context, Outcome

#: Revisions that are fetched beside each other.
BESIDE = 8
#: Each group of so many events takes this long at least (seconds).
GROUP_SECONDS = 0.5
_log = logger(__name__)


class Describe:
    """One run; it does everything again, because an event that comes twice changes nothing."""

    def __init__(self, context: Context, request: DescribeRequest) -> None:
        self._run = context.run
        self._request = request
        self._hub = ArtifactRegistries(context.settings).hub(request.registry)
        self._publisher = EventPublisher(context.settings)

    def __call__(self) -> Outcome:
        """Fetch, and publish."""
        models = self._request.models
        self._run.phase("describe")
        self._run.expect(items=len(models))
        published = 0
        with ThreadPoolExecutor(BESIDE, thread_name_prefix="describe") as pool:
            for start in range(0, len(models), BESIDE):
                self._run.check()
                began = time.monotonic()
                group = models[start : start + BESIDE]
                found = list(pool.map(lambda model: described(self._hub, model), group))
                published += sum(map(self._publish, group, found))
                self._run.count(Counter.LISTED, items=len(group))
                time.sleep(max(0.0, GROUP_SECONDS - (time.monotonic() - began)))
        left = len(models) - published
        amount = counted(published, "revision") if published else "nothing"
        sentence = self._run.summary(f"described {amount}")
        if left:
            sentence += f"; {counted(left, 'revision')} without a readme, or not read"
        return Outcome(
            sentence=sentence,
            result={"revisions": len(models), "published": published},
            state=State.SUCCEEDED if published else State.PARTIAL,
            items=len(models),
        )

    def undo(self) -> None:
        """Undo nothing: what was published stays true."""

    def _publish(self, model: ModelRevision, found: tuple[str, int | None] | None) -> bool:
        if found is None:
            return False
        self._publisher.stream(metadata_event(self._request.registry, model, *found))
        return True


def described(hub: Hub, model: ModelRevision) -> tuple[str, int | None] | None:
    """Return readme and size of a revision; None when it has no readme, or the hub fails."""
    try:
        readme = hub.readme(model.model_id, model.revision)
        if readme is None:
            return None
        return readme, hub.size(model.model_id, model.revision)
    except StorageError as error:
        _log.info("model not described", model=model.model_id, reason=error.detail)
        return None
