"""The OpenAPI 3.1 document of the client door: downloads by ticket, and uploads as tus 1.0.0.

The routes of this door read headers and the query only, so each is described here by its parameters
and answers; its text is the docstring of its view. `python -m api.doors.client.openapi >
docs/openapi-client.json` renews the committed copy.
"""

import json
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Flask

from api.doors.client import tus
from api.doors.client.routes import blueprint
from api.routes import PROBLEM
from api.routes.parameters import (
    IF_MATCH,
    IF_NONE_MATCH,
    IF_RANGE,
    OPENAPI_VERSION,
    RANGE,
    REQUEST_ID,
    Parameter,
    header,
    in_query,
)
from api.schemas import Problem, Status, Version
from backends.archives import FORMATS
from core.process.version import VERSION

TITLE = "vfolder client door"
BYTES: dict[str, Any] = {"type": "string", "format": "binary"}
_DESCRIPTION = """
A ticket in the query (`token`) permits one act; the manager door issues it. Uploads are tus 1.0.0
(https://tus.io/protocols/resumable-upload). Every error is an `application/problem+json` document
(RFC 9457). A ticket for a volume of another node is answered 307: send the same request there.
""".strip()
_TOKEN = Parameter("token", "query", "The ticket.", {"type": "string"}, required=True)
_DST_DIR = in_query("dst_dir", "The directory below which the path of the ticket is looked for.")
_FLAG = {"type": "boolean", "default": False}
_FORMAT = in_query("format", "The form of the archive.", type="string", enum=sorted(FORMATS))
_TOLERANT = in_query("tolerant", "Leave out what cannot be sent whole, and name it.", **_FLAG)
_CONDITIONS = (
    RANGE,
    IF_RANGE,
    IF_MATCH,
    IF_NONE_MATCH,
    header("If-Modified-Since", "304 when it has not changed since."),
    header("If-Unmodified-Since", "412 when it has changed since."),
)
_TICKET = (_TOKEN, _DST_DIR)
_RESUMABLE = header("Tus-Resumable", "The version of tus.", type="string", enum=[tus.VERSION])
_OFFSET = Parameter(
    "Upload-Offset",
    "header",
    "How many bytes are there already.",
    {"type": "integer", "minimum": 0, "maximum": tus.NUMBER_MAX},
    required=True,
)
_LENGTH = header("Upload-Length", "The size of the whole in bytes.", type="integer", minimum=0)
_CHECKSUM = header("Upload-Checksum", "An algorithm and the digest of this body in base64.")
_OVERRIDE = header(
    "X-HTTP-Method-Override",
    "The method that is meant, where a proxy lets only POST pass.",
    type="string",
    enum=["PATCH", "DELETE", "HEAD"],
)
_CREATION = (
    _LENGTH,
    header("Upload-Defer-Length", "1 when the size is not known yet.", type="string", enum=["1"]),
    header("Upload-Metadata", "Keys with values in base64, such as `relativePath`, `extract`."),
    header("Upload-Concat", "`partial`, or `final;` and the URLs of the parts."),
    header("If-None-Match", "`*` refuses to replace an entry."),
    header("If-Match", "The `ETag` of the file that the upload may replace."),
)
_ENDED = (404, 410)
_UPLOAD_REFUSALS = (400, 403, 409, 412, 423, 503, 504)


@dataclass(frozen=True, slots=True)
class Operation:
    """A route of the door: its parameters, the statuses that it gives, and those that refuse."""

    name: str
    gives: dict[int, str]
    parameters: tuple[Parameter, ...] = ()
    refuses: tuple[int, ...] = ()
    #: Media type → schema of a successful answer, for those with a body.
    content: dict[str, Any] | None = None
    takes_bytes: bool = False


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"$ref": f"#/components/schemas/{name}"}}


_ARCHIVES = {form.content_type: BYTES for form in FORMATS.values()}
_PARTS = {200: "All of it.", 206: "The range.", 304: "Unchanged."}
_DOWNLOAD_REFUSALS = (400, 401, 403, 404, 412, 416, 503, 504)
_LOOK = Operation(
    "look", {200: "How far it is."}, (*_TICKET, _RESUMABLE), (*_UPLOAD_REFUSALS, *_ENDED)
)
_APPEND = Operation(
    "append",
    {204: "The bytes are there; `Upload-Offset` says how many."},
    (*_TICKET, _RESUMABLE, _OFFSET, _LENGTH, _CHECKSUM),
    (*_UPLOAD_REFUSALS, *_ENDED, 408, 413, 415, 460, 507),
    takes_bytes=True,
)
_TERMINATE = Operation(
    "terminate", {204: "It is gone."}, (*_TICKET, _RESUMABLE), (*_UPLOAD_REFUSALS, *_ENDED)
)
_DISCOVER = Operation("discover", {200: "What it can do, in headers."})

#: By the rule of the route and its method.
OPERATIONS: dict[str, dict[str, Operation]] = {
    "/": {"get": Operation("status", {200: "It is open."}, content=_json("Status"))},
    "/version": {"get": Operation("version", {200: "The version."}, content=_json("Version"))},
    "/download": {
        "get": Operation(
            "download",
            _PARTS,
            (
                *_TICKET,
                in_query("archive", "A directory as an archive.", **_FLAG),
                _FORMAT,
                _TOLERANT,
                in_query("no_cache", "Keep caches from storing it.", **_FLAG),
                *_CONDITIONS,
            ),
            _DOWNLOAD_REFUSALS,
            {"application/octet-stream": BYTES, **_ARCHIVES, "*/*": BYTES},
        )
    },
    "/download-archive": {
        "get": Operation(
            "download_archive",
            _PARTS,
            (_TOKEN, _FORMAT, _TOLERANT, *_CONDITIONS),
            _DOWNLOAD_REFUSALS,
            _ARCHIVES,
        )
    },
    "/upload": {
        "options": _DISCOVER,
        "head": _LOOK,
        "patch": _APPEND,
        "post": Operation(
            "create",
            {201: "It is open; `Location` is its URL."},
            (*_TICKET, _RESUMABLE, *_CREATION, _CHECKSUM, _OVERRIDE),
            (*_UPLOAD_REFUSALS, 404, 408, 413, 415, 429, 460, 507),
            takes_bytes=True,
        ),
        "delete": _TERMINATE,
    },
    "/upload/<upload_id>": {
        "options": _DISCOVER,
        "head": _LOOK,
        "patch": _APPEND,
        "post": Operation(
            "override",
            {200: "As HEAD.", 204: "As PATCH or DELETE."},
            (*_TICKET, _RESUMABLE, _OVERRIDE),
            (*_UPLOAD_REFUSALS, *_ENDED, 405, 408, 413, 415, 460, 507),
            takes_bytes=True,
        ),
        "delete": _TERMINATE,
    },
    "/page": {
        "get": Operation(
            "page",
            {200: "The page."},
            (in_query("token", "The ticket, which the page reads."),),
            content={"text/html": {"type": "string"}},
        )
    },
}


@cache
def client_document() -> dict[str, Any]:
    """Return the document of the client door, without a running door."""
    app = Flask("client", static_folder=None)
    app.register_blueprint(blueprint)
    spec = APISpec(
        title=TITLE,
        version=VERSION,
        openapi_version=OPENAPI_VERSION,
        plugins=[MarshmallowPlugin()],
        info={"description": _DESCRIPTION},
        servers=[{"url": "/", "description": "the client door that shows this document"}],
    )
    for name, schema in (("Problem", Problem), ("Status", Status), ("Version", Version)):
        spec.components.schema(name, schema=schema)
    for rule, operations in OPERATIONS.items():
        path = rule.replace("<", "{").replace(">", "}")
        described = {m: _operation(app, rule, one) for m, one in operations.items()}
        spec.path(path, operations=described)
    document: dict[str, Any] = spec.to_dict()
    return document


def _operation(app: Flask, rule: str, operation: Operation) -> dict[str, Any]:
    text = app.view_functions[f"client.{operation.name}"].__doc__ or ""
    summary, _, rest = text.partition("\n")
    parameters = [one.document() for one in (*operation.parameters, REQUEST_ID)]
    name = operation.name
    if "<" in rule:
        identifier = {"type": "string"}
        place = {"name": "upload_id", "in": "path", "required": True}
        parameters.insert(0, place | _of(identifier))
        name = f"{name}_by_id"
    described: dict[str, Any] = {
        "operationId": name if name != "status" else "get_status",
        "summary": summary.strip(),
        "description": " ".join(rest.split()),
        "tags": ["uploads" if rule.startswith("/upload") else "client"],
        "parameters": parameters,
        "responses": _responses(operation),
    }
    if operation.takes_bytes:
        described["requestBody"] = {"content": {tus.CONTENT_TYPE: _of(BYTES)}}
    return described


def _of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"schema": schema}


def _responses(operation: Operation) -> dict[str, Any]:
    text = {"description": "The id of this request."}
    request_id = {REQUEST_ID.name: text | _of({"type": "string"})}
    found: dict[str, Any] = {}
    for status, said in operation.gives.items():
        found[str(status)] = {"description": said, "headers": request_id}
        if operation.content and status not in {204, 304}:
            content = {kind: _of(schema) for kind, schema in operation.content.items()}
            found[str(status)]["content"] = content
    for status in (*operation.refuses, 500):
        problem = {PROBLEM: _of({"$ref": "#/components/schemas/Problem"})}
        found[str(status)] = {
            "description": "Refused; the problem says why.",
            "headers": request_id,
            "content": problem,
        }
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(client_document(), indent=1, sort_keys=True) + "\n")
