"""Puts ids of things that exist into generated requests of people: a schema cannot know them."""

import os
from typing import Any

import schemathesis

from tests.support.schemathesis_cases import is_new
from tests.support.schemathesis_names import JOB_VARIABLE, VFOLDER_VARIABLE

_KNOWN = {"vfolder_id": VFOLDER_VARIABLE, "job_id": JOB_VARIABLE}


@schemathesis.hook
def filter_case(_context: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """Let one case of each kind pass."""
    return is_new(case)


@schemathesis.hook
def map_path_parameters(_context: schemathesis.HookContext, parameters: Any) -> Any:
    """Put the vfolder and the job that exist where there is one of any."""
    if isinstance(parameters, dict):
        for name, variable in _KNOWN.items():
            if parameters.get(name):
                parameters[name] = os.environ[variable]
    return parameters


@schemathesis.hook
def map_body(_context: schemathesis.HookContext, body: Any) -> Any:
    """Put the volume that exists where there is one of any."""
    if isinstance(body, dict) and isinstance(body.get("volume"), str) and body["volume"]:
        body["volume"] = "local"
    return body
