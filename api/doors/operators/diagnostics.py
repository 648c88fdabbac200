"""The route of a diagnostics bundle: what a report of a defect needs, and no secret."""

import hashlib
import io
import platform
import re
import sys
import time
import zipfile
from collections.abc import Callable
from importlib.metadata import distributions
from typing import Any

from flask import Response
from prometheus_client import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import CollectorRegistry

from api.doors.operators.overview import overview_of
from api.doors.operators.settings import settings_document
from api.doors.operators.volume_facts import VolumeFacts
from api.http import json
from api.routes import Door, PeopleResource, PersonRequest, Route, RouteAnswer, current_door, needs
from api.schemas import operators as shapes
from core.jobs.store import Query
from core.names import moment
from core.process import metrics_files
from core.process.version import VERSION

blueprint = PeopleResource("diagnostics", __name__, description="A bundle for a report.")

_ZIP = "application/zip"
#: Failed jobs in a bundle, the newest first.
JOBS_MAX = 100
#: Ids of people, groups and vfolders; also without hyphens.
_UUID = re.compile(r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", re.IGNORECASE)
#: An absolute path as a text of JSON, also of JSON inside it.
_PATH = re.compile(r'(?<=")/[^"\\]*(?=["\\])')
#: Members of a job's document that name no entry, and of its progress.
_PLAIN = (
    *("id", "verb", "volume", "lane", "scope", "state", "attempt", "losses", "priority", "node"),
    *("requester", "created_at", "started_at", "updated_at", "ended_at", "retry_of"),
)
_COUNTS = ("phase", "done_items", "total_items", "done_bytes", "total_bytes")
_HASH_DIGITS = 12


@blueprint.operation(
    "POST",
    "/v1/diagnostics",
    Route(
        takes=shapes.BundleOrderBody,
        gives={200: RouteAnswer("The bundle.", content_type=_ZIP)},
    ),
)
@needs("diagnostics.read", noted=True)
def make_diagnostics(body: shapes.BundleOrder, asked: PersonRequest) -> Response:
    """Return a zip file of JSON documents for a report of a defect: no secret is in it.

    Ids and paths are hashed, each always to the same text, unless `names` is true.
    """
    asked.note(after={"parts": body.parts, "names": body.names})
    content = bundle(current_door(), body.parts, names=body.names)
    name = f"vfolder-diagnostics-{moment(time.time())[:19].replace(':', '')}.zip"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(content, content_type=_ZIP, headers=headers)


def bundle(door: Door, parts: list[str], *, names: bool) -> bytes:
    """Return the bytes of a zip file with these parts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in parts:
            document = _PARTS[part](door)
            if part == "jobs" and not names:
                document = [without_entries(job) for job in document]
            is_text = isinstance(document, bytes)
            text = document if isinstance(document, bytes) else json.dumps(document)
            if not names:
                text = without_names(text.decode()).encode()
            archive.writestr(f"{part}.{'txt' if is_text else 'json'}", text)
    return buffer.getvalue()


def without_names(text: str) -> str:
    """Return text with hashes in place of ids and paths."""
    return _PATH.sub(lambda found: _hashed(found[0]), _UUID.sub(lambda m: _hashed(m[0]), text))


def _hashed(text: str) -> str:
    plain = text.replace("-", "").lower()
    return f"#{hashlib.sha256(plain.encode()).hexdigest()[:_HASH_DIGITS]}"


def _versions(_: Door) -> dict[str, Any]:
    return {
        "vfolder": VERSION,
        "python": sys.version,
        "platform": platform.platform(),
        "packages": {one.name: one.version for one in distributions()},
        "at": moment(time.time()),
    }


def _health(door: Door) -> dict[str, Any]:
    return {"node": door.health.report("unhealthy"), "cluster": overview_of(door)}


def _metrics(door: Door) -> bytes:
    registry = CollectorRegistry()
    files = [str(path) for path in metrics_files.all_files(door.settings)]

    class _Files:
        """What the processes of this node counted."""

        def collect(self) -> Any:  # noqa: ANN401 - families of the library
            """Return the merged families."""
            return MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call] # the library's

    registry.register(_Files())
    return generate_latest(registry)


def _jobs(door: Door) -> list[dict[str, Any]]:
    page = door.jobs.lists.page(Query(filters={"state": "failed"}, limit=JOBS_MAX))
    return [job.document() for job in page.jobs]


def without_entries(job: dict[str, Any]) -> dict[str, Any]:
    """Return a job's document without what may name an entry: request, sentences, details."""
    error, progress = job["error"] or {}, job["progress"] or {}
    facts = {name: error.get(name) for name in ("error_code", "title", "retriable")}
    counts = {name: progress.get(name) for name in _COUNTS}
    return {name: job[name] for name in _PLAIN} | {"error": facts, "progress": counts}


_PARTS: dict[str, Callable[[Door], Any]] = {
    "versions": _versions,
    "settings": settings_document,
    "health": _health,
    "metrics": _metrics,
    "nodes": lambda door: door.jobs.nodes.all(),
    "volumes": lambda door: VolumeFacts(door).all(),
    "jobs": _jobs,
}
