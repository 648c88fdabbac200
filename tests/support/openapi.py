"""Checks answers against the OpenAPI document of a door."""

import re
from typing import Any

import requests
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

_BASE = "urn:door"


class Document:
    """An OpenAPI 3.1 document; its schemas are JSON Schema 2020-12."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        resource = Resource.from_contents(content, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(_BASE, resource)
        self._patterns = {
            path: re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)) for path in content["paths"]
        }
        #: By the identity of a schema of the document.
        self._validators: dict[int, Draft202012Validator] = {}

    def operation(self, method: str, path: str) -> dict[str, Any]:
        """The operation that answers a path; an error when the document knows none."""
        plain = path.partition("?")[0]
        for template, pattern in self._patterns.items():
            operations = self.content["paths"][template]
            if pattern.fullmatch(plain) and method.lower() in operations:
                found: dict[str, Any] = operations[method.lower()]
                return found
        raise AssertionError(f"{method} {plain} is not documented")

    def check(self, method: str, path: str, response: requests.Response) -> None:
        """Check status, media type, headers and body of an answer."""
        endless = response.headers.get("Content-Type", "").startswith("text/event-stream")
        shown = "" if endless else response.text[:500]
        request = f"{method} {path} -> {response.status_code} {shown}"
        responses = self.operation(method, path)["responses"]
        status = str(response.status_code)
        assert status in responses, f"undocumented status: {request}"
        documented = responses[status]
        for name in documented.get("headers", {}):
            assert name in response.headers, f"no header {name}: {request}"
        content = documented.get("content")
        if content is None:
            assert not response.content, f"unexpected body: {request}"
            return
        media_type = response.headers["Content-Type"].partition(";")[0]
        assert media_type in content, f"undocumented media type {media_type}: {request}"
        if media_type.endswith("json"):
            self._validate(content[media_type]["schema"], response.json(), request)

    def _validate(self, schema: dict[str, Any], value: Any, request: str) -> None:
        validator = self._validators.get(id(schema))
        if validator is None:
            validator = Draft202012Validator(_absolute(schema), registry=self._registry)
            self._validators[id(schema)] = validator
        errors = list(validator.iter_errors(value))
        assert not errors, f"{errors[0].message} at {errors[0].json_path}: {request}"


def _absolute(schema: Any) -> Any:
    """The schema with references into the document made absolute."""
    if isinstance(schema, dict):
        return {
            key: f"{_BASE}{value}" if key == "$ref" else _absolute(value)
            for key, value in schema.items()
        }
    if isinstance(schema, list):
        return [_absolute(item) for item in schema]
    return schema
