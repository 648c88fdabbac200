"""Parameters of routes outside the body: in the query and in headers, as OpenAPI describes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: The version of OpenAPI in which the doors describe themselves.
OPENAPI_VERSION = "3.1.0"
#: A UUID as text.
UUID_PATTERN = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
#: What OpenAPI says of a parameter that is any text.
_TEXT: Mapping[str, Any] = {"type": "string"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a route; `schema` is its JSON Schema."""

    name: str
    place: Literal["query", "header"]
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: _TEXT)
    required: bool = False

    def document(self) -> dict[str, Any]:
        """Return its OpenAPI parameter object."""
        return {
            "name": self.name,
            "in": self.place,
            "description": self.description,
            "required": self.required,
            "schema": dict(self.schema),
        }


def header(name: str, description: str, **schema: Any) -> Parameter:  # noqa: ANN401 - any JSON Schema
    """Return an optional header; without a schema it is any text."""
    return Parameter(name, "header", description, schema or _TEXT)


def in_query(name: str, description: str, **schema: Any) -> Parameter:  # noqa: ANN401 - any JSON Schema
    """Return an optional parameter of the query; without a schema it is any text."""
    return Parameter(name, "query", description, schema or _TEXT)


#: Every route of every door takes it.
REQUEST_ID = header("X-Request-ID", "An id for the logs; without one the door makes one.")
#: The manager door takes it, where there are people.
ON_BEHALF_OF = header(
    "X-VFolder-On-Behalf-Of",
    "`user:<uuid>`: decide as for that user, whose the jobs and tickets are.",
    type="string",
    pattern=f"^user:{UUID_PATTERN}$",
)
IF_NONE_MATCH = header("If-None-Match", "The `ETag` of the last answer: 304 while nothing changed.")
IF_MATCH = header("If-Match", "The `ETag` that is expected: 412 when it is another now.")
IF_RANGE = header("If-Range", "The `ETag` of the parts so far: all of it when it has changed.")
RANGE = header("Range", "The wanted bytes, such as `bytes=0-1023` or `bytes=1024-`.")
