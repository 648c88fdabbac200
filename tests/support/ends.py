"""What holds for the end of every job, whatever its verb."""

import re
from typing import Any

#: A sentence may say `nothing` of a job that succeeded only where the rest says what was there.
NOTHING = re.compile(r"\bnothing\b(?!; \d+ were the same)")


def checked_end(document: dict[str, Any]) -> dict[str, Any]:
    """Return an ended job: its state, its sentence and its progress have to agree."""
    assert document["done"], document
    result = document["result"] or {}
    if document["state"] in {"succeeded", "partial"}:
        assert result["sentence"], document
    if document["state"] == "succeeded":
        assert not NOTHING.search(result["sentence"]), document
        progress = document["progress"]
        assert (progress["text"], progress["percent"]) == (result["sentence"], 100.0), document
    if document["state"] == "failed":
        assert document["error"]["detail"], document
    return document
