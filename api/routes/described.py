"""The OpenAPI 3.1 document of an app, made from its routes (`api.routes.resource`)."""

from typing import Any

from flask import Flask, Response
from flask_smorest import Api
from marshmallow.fields import Field
from werkzeug.exceptions import HTTPException

from api.http import problems
from api.routes.parameters import OPENAPI_VERSION
from api.schemas import Problem
from core.process.version import VERSION


class DescribedApi(Api):
    """The OpenAPI document of an app; `api.http.problems` answers all errors."""

    ERROR_SCHEMA = Problem
    #: A `Route` lists all its answers; there is no default one.
    DEFAULT_ERROR_RESPONSE_NAME = None

    def handle_http_exception(self, error: HTTPException) -> Response:
        """Return the same problem document as for every other error."""
        return problems.respond(error)


def describe(app: Flask, title: str, description: str, schemes: dict[str, dict[str, Any]]) -> Api:
    """Return an empty document for the routes of the app; each needs one of the `schemes`."""
    app.config["API_TITLE"] = title
    app.config["API_VERSION"] = VERSION
    app.config["OPENAPI_VERSION"] = OPENAPI_VERSION
    api: Api = DescribedApi(app, spec_kwargs={"info": {"description": description}})
    api.ma_plugin.converter.add_attribute_function(_own_types)
    for name, scheme in schemes.items():
        api.spec.components.security_scheme(name, scheme)
    api.spec.options["security"] = [{name: []} for name in schemes]
    return api


def _own_types(_converter: object, field: Field[Any], **_: Any) -> dict[str, Any]:  # noqa: ANN401 - apispec's hook
    """Return the OpenAPI schema that a field of ours declares; empty for other fields."""
    schema = dict(getattr(field, "openapi", {}))
    if schema and field.allow_none and "null" not in schema["type"]:
        schema["type"] = [*schema["type"], "null"]
    return schema
