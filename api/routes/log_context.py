"""What every log line of a request says beside its id: the operation, the volume, the vfolder."""

from api.http import this_request
from api.routes.door import current_door
from core.telemetry import logs

#: The route's own name is the operation; views of a resource are named `resource.view`.
_SEPARATOR = "."


def bind_log_context(volume: str | None = None, vfolder: object = None) -> None:
    """Bind what is known of the request at work; what is not is left out."""
    facts = {"operation": (this_request().endpoint or "").rpartition(_SEPARATOR)[2]}
    if volume is not None:
        facts["volume"] = volume
        table = current_door().settings.volume.get(volume)
        if table is not None:
            facts["backend"] = table.backend
    if vfolder is not None:
        facts["vfolder_id"] = str(vfolder)
    logs.note(**facts)
