"""The OpenAPI 3.1 document of the manager door, made from its routes.

`python -m api.doors.manager.openapi > docs/openapi.json` renews the committed copy.
"""

import json
import sys
from functools import cache
from typing import Any

from flask import Flask
from flask_smorest import Api

from api.http import auth
from api.routes import described, on_behalf, parameters

TITLE = "vfolder manager door"
_DESCRIPTION = """
Parameters are a JSON object in the body, on every method, GET and DELETE included; the content
type does not matter. Times are RFC 3339 in UTC. Sizes are integers of bytes. Unknown is null.
Every error is an `application/problem+json` document (RFC 9457) with a stable `error_code`.
""".strip()

_ON_BEHALF = f"""

With the header `{parameters.ON_BEHALF_OF.name}: user:<uuid>` the routes that list it decide as for
that user: 404 for what it may not see, 403 for what it may not do. Jobs and tickets are the user's.
All other routes refuse the header with 403.
""".rstrip()

#: The server of a document: the door that shows it.
_HERE = {"url": "/", "description": "the manager door"}


def describe(app: Flask) -> Api:
    """Return an empty document for the routes of the app."""
    scheme = {"type": "apiKey", "in": "header", "name": auth.HEADER}
    api = described.describe(app, TITLE, _DESCRIPTION, {"secret": scheme})
    api.spec.options["servers"] = [_HERE]
    return api


@cache
def manager_document(*, people: bool = False) -> dict[str, Any]:
    """Return the document of the manager door, without a running door.

    With `people`, that of a door whose settings have the table `[vfolder.access]`.
    """
    from api.doors import manager  # noqa: PLC0415 - its routes import this module

    app = Flask("manager", static_folder=None)
    api = describe(app)
    manager.install(api, people=people)
    document: dict[str, Any] = api.spec.to_dict()
    if people:
        _add_header(app, document)
    return document


def _add_header(app: Flask, document: dict[str, Any]) -> None:
    """Add the header of requests on behalf of a user to the routes that take it, with their act."""
    views = app.view_functions.items()
    acts = {endpoint.rpartition(".")[2]: on_behalf.decided_as(view) for endpoint, view in views}
    document["info"]["description"] += _ON_BEHALF
    for item in document["paths"].values():
        for operation in item.values():
            act = acts.get(operation.get("operationId", "")) if isinstance(operation, dict) else ""
            if act:
                header = parameters.ON_BEHALF_OF.document()
                operation["parameters"] = [*operation.get("parameters", ()), header]
                operation["x-on-behalf-of"] = {"act": act}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(manager_document(), indent=1, sort_keys=True) + "\n")
