"""Puts real names into generated requests: a schema cannot know the names of volumes."""

import os
from typing import Any

import schemathesis

from tests.support.schemathesis_cases import is_new
from tests.support.schemathesis_names import STORAGE, VFID_VARIABLE

VOLUME = "local"


@schemathesis.hook
def filter_case(_context: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """Let one case of each kind pass."""
    return is_new(case)


@schemathesis.hook
def map_path_parameters(_context: schemathesis.HookContext, parameters: Any) -> Any:
    """Put the name of a storage that exists where there is one of any."""
    if isinstance(parameters, dict) and parameters.get("storage_name"):
        parameters["storage_name"] = STORAGE
    return parameters


@schemathesis.hook
def map_body(_context: schemathesis.HookContext, body: Any) -> Any:
    """Put names of things that exist where there are valid names of any."""
    if not isinstance(body, dict):
        return body
    for key in ("volume", "src_volume", "dst_volume", "target_volume"):
        if isinstance(body.get(key), str) and body[key]:
            body[key] = VOLUME
    vfid = os.environ[VFID_VARIABLE]
    for key in ("vfid", "vfolder", "virtual_folder_id", "src_vfid", "source"):
        value = body.get(key)
        if isinstance(value, str) and value.endswith(("0", "2", "4", "6", "8", "a", "c", "e")):
            body[key] = vfid
    return body
