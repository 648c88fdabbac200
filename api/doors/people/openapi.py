"""The OpenAPI document of a client door with people's routes: theirs and those by ticket."""

from functools import cache
from typing import Any

from flask import Flask
from flask_smorest import Api

from api.doors.client.openapi import TITLE, client_document
from api.routes import described

#: Operations whose HEAD is described, too.
_WITH_HEAD = frozenset({"get_content", "get_link_content"})
_DESCRIPTION = """
People and their programs send an API key or a token: `Authorization: Bearer …`. `x-needs` of a
route names its act, and which permission and scopes the act needs. What a caller may not see is
answered as if it were absent (404). `{vfolder_id}` is an id, or `VOLUME:ID`.
""".strip()


@cache
def people_document() -> dict[str, Any]:
    """Return the document of a client door with people's routes, without a running door."""
    from api.doors import operators, people  # noqa: PLC0415 - their routes import this module

    app = Flask("people", static_folder=None)
    api = _api(app)
    people.install(api)
    operators.install(api)
    own: dict[str, Any] = api.spec.to_dict()
    _add_heads(own["paths"])
    # A link is no credential of its visitor: it is in the path.
    paths = {
        path: _open(found) if path.startswith("/s/") else found
        for path, found in own["paths"].items()
    }
    tickets = client_document()
    texts = (tickets["info"]["description"], own["info"]["description"])
    schemas = tickets["components"]["schemas"] | own["components"]["schemas"]
    return {
        **own,
        "info": {**own["info"], "description": "\n\n".join(texts)},
        "servers": tickets["servers"],
        "paths": {path: _open(found) for path, found in tickets["paths"].items()} | paths,
        "components": {**own["components"], "schemas": schemas},
    }


def _add_heads(paths: dict[str, Any]) -> None:
    """Describe HEAD of what is content, and take the bodies from all answers to HEAD."""
    for operations in paths.values():
        get = operations.get("get", {})
        if get.get("operationId") in _WITH_HEAD:
            operations["head"] = {**get, "operationId": f"head_of_{get['operationId']}"}
        if head := operations.get("head"):
            answers = {
                status: {key: value for key, value in one.items() if key != "content"}
                for status, one in head["responses"].items()
            }
            operations["head"] = {**head, "responses": answers}


def _open(operations: dict[str, Any]) -> dict[str, Any]:
    """Return operations that need no key: a ticket or link is in their URL, or they are for all."""
    return {
        name: {**one, "security": []} if isinstance(one, dict) else one
        for name, one in operations.items()
    }


def _api(app: Flask) -> Api:
    scheme = {"type": "http", "scheme": "bearer", "bearerFormat": "API key or JWT"}
    return described.describe(app, TITLE, _DESCRIPTION, {"bearer": scheme})
