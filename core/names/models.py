"""The ids of models: a name, or owner and name."""

import re

from core.errors import InvalidName

#: The longest id of a model, and the longest name of a revision (characters).
MODEL_NAME_MAX = 255
#: Neither part is `.` or `..`, so that both can be parts of a path and of a URL.
_MODEL_ID = re.compile(r"(?!\.{1,2}(?:/|$))[\w.-]+(?:/(?!\.{1,2}$)[\w.-]+)?", re.ASCII)


def check_model_id(text: str) -> str:
    """Return the id of a model.

    Raises:
        InvalidName: it has another form.
    """
    if len(text) > MODEL_NAME_MAX or not _MODEL_ID.fullmatch(text):
        raise InvalidName("The id of a model is a name, or owner/name.")
    return text


def check_revision(text: str) -> str:
    """Return the name of a branch, a tag or a commit.

    Raises:
        InvalidName: it is empty, too long, or cannot be a path.
    """
    parts = text.split("/")
    if len(text) > MODEL_NAME_MAX or not text.isprintable() or {"", ".", ".."} & set(parts):
        raise InvalidName("A revision is the name of a branch, a tag or a commit.")
    return text
