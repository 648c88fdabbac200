"""The route of reservoirs: import models from another site."""

from http import HTTPStatus

from flask import Response

from api.doors.manager.artifacts.imports import IMPORT_ERRORS, submit_import
from api.http import answer
from api.routes import Resource, Route, RouteAnswer, current_door
from api.schemas import artifact_registries as schemas

blueprint = Resource("reservoir", __name__, description="Models of other sites.")


@blueprint.operation(
    "POST",
    "/v1/registries/reservoir/import",
    Route(
        takes=schemas.ReservoirImportBody,
        gives={202: RouteAnswer("The import is a job.", schemas.ImportTask)},
        refuses=IMPORT_ERRORS,
    ),
)
def import_from_reservoir(body: schemas.ImportOrder) -> Response:
    """Import models from another site into an artifact storage or a vfolder, as a job.

    Each model needs a revision, and its id at the manager of that site. The files come from the VFS
    storage that the configuration names. Each model ends with the event `model_import_done`.
    """
    current_door().registries.check_reservoir(body.registry_name)
    return answer({"task_id": submit_import(body, "reservoir")}, HTTPStatus.ACCEPTED)
