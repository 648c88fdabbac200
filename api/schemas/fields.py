"""Fields as existing clients write them: tolerant where they are loose, strict elsewhere."""

import re
from typing import Any, ClassVar
from uuid import UUID

import marshmallow as ma
from marshmallow import fields, validate

from core.errors import InvalidName, PathEscape
from core.names import (
    SCOPE_PATTERN,
    VFOLDER_PATTERN,
    QuotaScope,
    VFolderId,
    VFolderPath,
    moment_ns,
)
from core.settings import size_bytes

_TRUE = frozenset({"t", "true", "y", "yes", "on", "1"})
_FALSE = frozenset({"false", "n", "no", "off", "0", "none"})
#: Sizes and limits fit a signed 64-bit integer, as off_t does.
INTEGER_MAX = 2**63 - 1
#: The longest note of a grant (characters).
NOTE_MAX = 500
_NANOSECONDS = 1_000_000_000
#: A user or a group; the UUID with hyphens or without.
SUBJECT_PATTERN = (
    r"^(?:user|group):(?:[0-9a-fA-F]{32}|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})$"
)
_SUBJECT = re.compile(SUBJECT_PATTERN.strip("^$"))
#: Digits of INTEGER_MAX and a sign (characters); longer text is refused without parsing.
_INTEGER_TEXT_MAX = 20


#: The OpenAPI schema of a field; types are a list, so that null can be added.
OpenApi = dict[str, Any]


class Text(fields.String):
    """Text that is not empty."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - marshmallow's options
        options.setdefault("validate", validate.Length(min=1))
        options.setdefault("required", True)
        super().__init__(**options)


def encodable(text: str) -> None:
    """Refuse text that no file and no store can keep: JSON can escape half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ma.ValidationError("Not text: it has half of a surrogate pair.") from None


class Note(fields.String):
    """A note of a person; empty when absent."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - marshmallow's options
        super().__init__(validate=[validate.Length(max=NOTE_MAX), encodable], **options)


class MomentField(fields.Field[float]):
    """A moment as RFC 3339 writes it, with an offset; loaded as seconds of the epoch."""

    openapi: ClassVar[OpenApi] = {"type": ["string"], "format": "date-time"}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> float:  # noqa: ANN401 - marshmallow's hook
        if not isinstance(value, str):
            raise ma.ValidationError("Not a moment; write 2026-01-31T12:00:00Z.")
        try:
            return moment_ns(value) / _NANOSECONDS
        except ValueError as error:
            raise ma.ValidationError(f"It {error}.") from None


class SubjectWord(fields.Field[str]):
    """A user or a group; loaded as records write it, in whichever form the UUID came."""

    openapi: ClassVar[OpenApi] = {"type": ["string"], "pattern": SUBJECT_PATTERN}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:  # noqa: ANN401 - marshmallow's hook
        if not isinstance(value, str) or not _SUBJECT.fullmatch(value):
            raise ma.ValidationError("Not user:<uuid> or group:<uuid>.")
        kind, text = value.split(":", 1)
        return f"{kind}:{UUID(text)}"


class VolumeName(Text):
    """The name of a volume."""

    def __init__(self) -> None:
        super().__init__(metadata={"description": "Name of a volume.", "example": "local"})


class _Parsed(fields.Field[Any]):
    """Text that `core.names` parses."""

    openapi: ClassVar[OpenApi] = {"type": ["string"]}

    parse: ClassVar[Any]

    def _pointer(self) -> str:
        owner = self.parent if isinstance(self.parent, fields.List) else self
        return f"/{owner.data_key or owner.name}"

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:  # noqa: ANN401 - marshmallow's hook
        if not isinstance(value, str):
            raise ma.ValidationError("Not a valid string.")
        try:
            return self.parse(value)
        except PathEscape as error:
            pointer = self._pointer()
            error.facts.setdefault("errors", [{"pointer": pointer, "detail": error.detail}])
            error.facts.setdefault("data", error.detail)
            raise
        except InvalidName as error:
            raise ma.ValidationError(error.detail) from None


class ScopeField(_Parsed):
    """`user:<uuid>` or `project:<uuid>`."""

    openapi: ClassVar[OpenApi] = {"type": ["string"], "pattern": SCOPE_PATTERN}
    parse = QuotaScope.parse

    def __init__(self, key: str = "qsid", *, optional: bool = False) -> None:
        absent: dict[str, Any] = {"load_default": None, "allow_none": True}
        super().__init__(
            **(absent if optional else {"required": True}),
            data_key=key,
            metadata={
                "description": "Quota scope: `user:<uuid>` or `project:<uuid>`.",
                "example": "user:6a3ce8b1-1b2c-4d5e-8f90-0123456789ab",
            },
        )


class VFolderField(_Parsed):
    """`<quota scope>/<uuid>`, or a legacy id without scope."""

    openapi: ClassVar[OpenApi] = {"type": ["string"], "pattern": VFOLDER_PATTERN}
    parse = VFolderId.parse

    def __init__(
        self, key: str = "vfid", *, allow_none: bool = False, optional: bool = False
    ) -> None:
        absent: dict[str, Any] = {"load_default": None, "allow_none": True}
        super().__init__(
            **(absent if optional else {"required": True, "allow_none": allow_none}),
            data_key=key,
            metadata={
                "description": "VFolder: `<quota scope>/<32 hex>`.",
                "example": (
                    "user:6a3ce8b1-1b2c-4d5e-8f90-0123456789ab/00112233445566778899aabbccddeeff"
                ),
            },
        )


class PathField(_Parsed):
    """A path relative to the vfolder; `""` and `"."` are its root."""

    parse = VFolderPath.parse

    def __init__(self, key: str | None = "relpath", **options: Any) -> None:  # noqa: ANN401 - marshmallow's options
        if "load_default" not in options:
            options["required"] = True
        super().__init__(
            data_key=key,
            metadata={
                "description": "Path relative to the vfolder; `.` is the vfolder itself.",
                "example": "data/train",
            },
            **options,
        )


def _one_name(text: str) -> str:
    path = VFolderPath.parse(text)
    if len(path.parts) != 1 or path.name != text:
        raise InvalidName("A name is one name, without '/'.")
    return text


class NameField(_Parsed):
    """The name of one entry."""

    parse = staticmethod(_one_name)

    def __init__(self) -> None:
        super().__init__(
            required=True,
            metadata={"description": "A name, without `/`.", "example": "model.bin"},
        )


class Truth(fields.Field[bool]):
    """A truth value: `true` or `false`, and nothing else."""

    openapi: ClassVar[OpenApi] = {"type": "boolean"}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:  # noqa: ANN401 - marshmallow's hook
        if not isinstance(value, bool):
            raise ma.ValidationError("Not a valid boolean.")
        return value


class Flag(fields.Field[bool]):
    """A truth value as clients write it: JSON, 0 and 1, null, or a word.

    The document names only the first: generated clients fail at a field with several types.
    """

    openapi: ClassVar[OpenApi] = {"type": ["boolean", "null"]}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:  # noqa: ANN401 - marshmallow's hook
        if value is None or isinstance(value, bool):
            return bool(value)
        word = str(value).strip().lower() if isinstance(value, str | int) else ""
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise ma.ValidationError("Not a valid boolean.")

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> bool:  # noqa: ANN401 - marshmallow's hook
        """As in the base, but null is false, not missing."""
        return False if value is None else bool(super().deserialize(value, *args, **kwargs))


class LooseInteger(fields.Integer):
    """An integer as clients write it: JSON, an integral float, or decimal text.

    The document names only the first; see `Flag`.
    """

    openapi: ClassVar[OpenApi] = {"type": ["integer"]}

    def __init__(self, minimum: int = 0, **options: Any) -> None:  # noqa: ANN401 - marshmallow's options
        self._minimum = minimum
        options.setdefault("validate", validate.Range(min=minimum, max=INTEGER_MAX))
        super().__init__(**options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401 - marshmallow's hook
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and len(value) <= _INTEGER_TEXT_MAX:
            try:
                return int(value)
            except ValueError:
                raise ma.ValidationError("Not a valid integer.") from None
        raise ma.ValidationError("Not a valid integer.")


class SizeField(fields.Field[int]):
    """A size: an integer of bytes, or text with k, m, g, t, p or e (powers of 1024)."""

    openapi: ClassVar[OpenApi] = {"type": ["integer", "string"]}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401 - marshmallow's hook
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ma.ValidationError("Not a valid size.")
        try:
            return size_bytes(value)
        except (ValueError, OverflowError):
            raise ma.ValidationError("Not a valid size.") from None
