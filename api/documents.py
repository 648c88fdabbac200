"""The OpenAPI 3.1 document of a door, made from its acts."""

from flask import Flask
from flask_smorest import Api

from api.schemas.problems import Problem
from api.versions import VERSION

OPENAPI_VERSION = "3.1.0"


class DescribedApi(Api):
    """The document of an app; errors stay the business of `api.problems`."""

    ERROR_SCHEMA = Problem

    def _register_error_handlers(self) -> None:
        """Leave the handlers that `api.problems.install` put in place."""


def describe(app: Flask, title: str) -> Api:
    """An empty document for the app, served at `/openapi.json`."""
    app.config["API_TITLE"] = title
    app.config["API_VERSION"] = VERSION
    app.config["OPENAPI_VERSION"] = OPENAPI_VERSION
    app.config["OPENAPI_URL_PREFIX"] = "/"
    return DescribedApi(app)
