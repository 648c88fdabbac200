"""Routes of hubs: search, describe, the commit of a revision, import."""

import time
from http import HTTPStatus
from urllib.parse import unquote

import redis
from flask import Response, request

from api.doors.manager.artifacts.imports import IMPORT_ERRORS, submit_import
from api.http import answer
from api.jobs import MANAGER, JobSubmission, pointer
from api.routes import Resource, Route, RouteAnswer, current_door, parameters
from api.schemas import artifact_registries as schemas
from api.schemas.bodies import UnreadableDocument
from backends.systems.registries import DEFAULT_REVISION, Hub
from core.errors import (
    InvalidParameters,
    ModelNotFound,
    RegistryNotFound,
    RegistryRefused,
    RegistryUnavailable,
    StorageError,
)
from core.jobs.requests import MODELS_MAX, DescribeRequest, ModelRevision, queue_of_registry
from core.names import check_model_id, check_revision
from core.redis import store_is_away
from core.telemetry import logger

blueprint = Resource("huggingface", __name__, description="Models of a hub, and their import.")

#: The manager gives up after 300 s, so a slow hub gets less (seconds).
ANSWER_SECONDS = 200.0
_HUB: tuple[type[StorageError], ...] = (
    UnreadableDocument,
    RegistryNotFound,
    RegistryUnavailable,
    RegistryRefused,
)
_QUERY = (
    parameters.Parameter("registry_name", "query", "Name of a registry.", required=True),
    parameters.in_query("revision", "Branch, tag or commit."),
)
_ONE = (InvalidParameters, ModelNotFound, RegistryNotFound, RegistryUnavailable, RegistryRefused)
_log = logger(__name__)


@blueprint.operation(
    "POST",
    "/v1/registries/huggingface/scan",
    Route(
        takes=schemas.ScanBody,
        gives={200: RouteAnswer("One entry for each branch and tag.", schemas.ModelList)},
        refuses=_HUB,
    ),
)
def scan_models(body: schemas.ScanOrder) -> Response:
    """Search models in a hub; each has an entry for each of its branches and tags.

    Afterwards a job fetches the readme and the size of each entry. Each entry with a readme gives
    one event `models_metadata_fetch_done`. Branches that a slow hub does not name in time are left
    out: such a model has the entry `main`.
    """
    hub = current_door().registries.hub(body.registry_name)
    models = hub.scan(body.search, body.order, body.limit, seconds=ANSWER_SECONDS)
    _describe_later(body.registry_name, [(one.id, one.revision) for one in models])
    return answer({"models": [one.document() for one in models]})


@blueprint.operation(
    "POST",
    "/v1/registries/huggingface/models/batch",
    Route(
        takes=schemas.BatchBody,
        gives={200: RouteAnswer("One entry for each.", schemas.ModelList)},
        refuses=(*_HUB, ModelNotFound),
    ),
)
def describe_models(body: schemas.BatchOrder) -> Response:
    """Describe revisions of models; readme and size follow as events, as after a scan."""
    hub = current_door().registries.hub(body.registry_name)
    targets = [(one["model_id"], one["revision"] or DEFAULT_REVISION) for one in body.models]
    models = hub.beside(lambda one: hub.model(*one), targets, seconds=ANSWER_SECONDS)
    if None in models:
        raise RegistryUnavailable("The registry did not describe all models in time.")
    _describe_later(body.registry_name, targets)
    return answer({"models": [one.document() for one in models]})


@blueprint.operation(
    "GET",
    "/v1/registries/huggingface/model/<model_id>",
    Route(
        gives={200: RouteAnswer("The revision.", schemas.OneModel)},
        parameters=_QUERY,
        refuses=_ONE,
        ignores_body=True,
    ),
)
def describe_model(model_id: str) -> Response:
    """Describe one revision of a model, with readme and size.

    A `/` in the id is percent-encoded twice, as the manager does. `revision` is required.
    """
    hub, model_id, revision = _named(model_id, default="")
    began = time.monotonic()

    def call(what: int) -> object:
        calls = (hub.model, hub.readme, hub.size)
        return calls[what](model_id, revision)

    model, readme, size = hub.beside(call, range(3), seconds=ANSWER_SECONDS)
    if model is None:
        seconds = time.monotonic() - began
        raise RegistryUnavailable(f"The registry did not answer within {seconds:.0f} s.")
    return answer({"model": model.document(readme, size)})


@blueprint.operation(
    "GET",
    "/v1/registries/huggingface/model/<model_id>/commit-hash",
    Route(
        gives={200: RouteAnswer("Its commit.", schemas.CommitHash)},
        parameters=_QUERY,
        refuses=_ONE,
        ignores_body=True,
    ),
)
def get_commit_hash(model_id: str) -> Response:
    """Return the commit of a revision; `main` when the query names none."""
    hub, model_id, revision = _named(model_id, default=DEFAULT_REVISION)
    return answer({"commit_hash": hub.commit(model_id, revision)})


@blueprint.operation(
    "POST",
    "/v1/registries/huggingface/import",
    Route(
        takes=schemas.ImportBody,
        gives={202: RouteAnswer("The import is a job.", schemas.ImportTask)},
        refuses=IMPORT_ERRORS,
    ),
)
def import_models(body: schemas.ImportOrder) -> Response:
    """Import models into an artifact storage or a vfolder, as a job.

    The files go to the target of the last step. The other targets stay as they are: they only had
    copies that the end removes. Each model ends with the event `model_import_done`.
    """
    current_door().registries.hub(body.registry_name)
    return answer({"task_id": submit_import(body, "huggingface")}, HTTPStatus.ACCEPTED)


def _named(model_id: str, default: str) -> tuple[Hub, str, str]:
    """Return hub, model and revision that a request names in its path and its query."""
    registry = request.args.get("registry_name")
    revision = request.args.get("revision") or default
    for name, value in (("registry_name", registry), ("revision", revision)):
        if not value:
            raise pointer(name, "is a parameter of the query that the route needs")
    hub = current_door().registries.hub(str(registry))
    return hub, check_model_id(unquote(model_id)), check_revision(revision)


def _describe_later(registry: str, revisions: list[tuple[str, str]]) -> None:
    """Submit the job that publishes readme and size; the answer does not depend on it."""
    models = [ModelRevision(model_id=one, revision=name) for one, name in revisions]
    jobs = current_door().jobs
    for start in range(0, len(models), MODELS_MAX):
        request = DescribeRequest(
            volume=queue_of_registry(registry),
            registry=registry,
            models=models[start : start + MODELS_MAX],
        )
        try:
            jobs.submit_own(request, JobSubmission(MANAGER))
        except (redis.RedisError, StorageError) as error:
            if isinstance(error, redis.RedisError) and not store_is_away(error):
                raise
            _log.warning("models not described later", reason=type(error).__name__)
            return
