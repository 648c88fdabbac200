"""The events of models: a verification begins, an import ends, a readme was fetched.

The fields have the order that readers by position need; `models_metadata_fetch_done` differs.
"""

from typing import Any

import msgspec

from core.events.bus import Event
from core.jobs import Job, State
from core.jobs.requests import ImportRequest, ModelRevision

Model = dict[str, Any]


def verifying_event(request: ImportRequest, model: ModelRevision) -> Event:
    """Return the event that the verification of a model begins."""
    return Event("model_verifying", _about(request, model))


def import_event(
    request: ImportRequest,
    model: ModelRevision,
    *,
    digest: str | None,
    verification: dict[str, Any] | None,
    success: bool,
) -> Event:
    """Return the event of the end of one model; the digest is the commit of a success."""
    end = {"success": success, "digest": digest, "verification_result": verification}
    return Event("model_import_done", _about(request, model) | end)


def metadata_event(registry: str, model: ModelRevision, readme: str, size: int | None) -> Event:
    """Return the event with the readme and the size of a revision."""
    facts = {
        "model_id": model.model_id,
        "revision": model.revision,
        "readme_content": readme,
        "registry_type": "huggingface",
        "registry_name": registry,
        "size": size,
    }
    order = ("model_id", "revision", "readme_content", "registry_name", "registry_type", "size")
    return Event("models_metadata_fetch_done", {"model": facts}, [facts[name] for name in order])


def import_mark(job: str, number: int) -> str:
    """Return the mark under which the end of one model is published once."""
    return f"{job}:{number}"


def ended_imports(job: Job) -> list[tuple[str, Event]]:
    """Return mark and event of each model of an ended import, from its record alone.

    The run publishes the end of each model at once, under the same mark. So these reach the manager
    only for models whose run could not publish, or that no run came to.
    """
    if job.verb != "import":
        return []
    request = msgspec.convert(job.member("request"), ImportRequest)
    known = (job.member("result") or {}).get("models") or []
    ends = {one["number"]: one for one in known}
    events = []
    for number, model in enumerate(request.models):
        end = ends.get(number, {})
        success = bool(end.get("success")) and job.state in (State.SUCCEEDED, State.PARTIAL)
        event = import_event(
            request,
            model,
            digest=end.get("digest") if success else None,
            verification=end.get("verification_result"),
            success=success,
        )
        events.append((import_mark(job.id, number), event))
    return events


def _about(request: ImportRequest, model: ModelRevision) -> Model:
    return {
        "model_id": model.model_id,
        "revision": model.revision,
        "registry_type": request.registry_type,
        "registry_name": request.registry,
    }
