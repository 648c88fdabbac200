"""An operation on its way to another node and back, as msgpack, by the operation's annotations.

Names that are not UTF-8 travel as their bytes. The store of uploads does not travel: each node puts
in its own.
"""

import inspect
from datetime import datetime
from functools import cache
from typing import Any, get_type_hints

import msgpack
import msgspec
from msgspec import Struct, convert, to_builtins

from backends.base import Backend
from backends.entries import object_tree
from backends.fs import translate
from backends.volumes.operations import IN_VFOLDER, ON_VOLUME, Operation, name_of
from core.errors import Defect, InvalidName, InvalidParameters, StorageError, Unsupported
from core.names import VFolderId, VFolderPath
from core.telemetry import logger
from core.uploads import UploadStore

_PLAIN = (bytes, bytearray, datetime)
_SURROGATES = "surrogateescape"
_log = logger(__name__)


class OperationCall(Struct, frozen=True):
    """An operation to do on a volume, or in a vfolder of it when `vfolder` is set."""

    volume: str
    operation: str
    arguments: dict[str, Any]
    vfolder: str = ""


# -- Values ----------------------------------------------------------------------------------------
def pack(value: Any) -> bytes:  # noqa: ANN401 - any value of an operation
    """Return a value as bytes."""
    plain = to_builtins(value, builtin_types=_PLAIN)
    packed: bytes = msgpack.packb(plain, datetime=True, unicode_errors=_SURROGATES)
    return packed


def unpack(data: bytes, kind: Any) -> Any:  # noqa: ANN401 - any value of an operation
    """Return the value of a kind that `pack` made these bytes of.

    Raises:
        ValueError: the bytes are no such value.
    """
    try:
        plain = msgpack.unpackb(data, timestamp=3, unicode_errors=_SURROGATES)
    except msgpack.UnpackException as error:
        raise ValueError("not msgpack") from error
    return convert(plain, kind, builtin_types=_PLAIN)


@cache
def _hints(operation: Operation) -> dict[str, Any]:
    return get_type_hints(operation)


@cache
def _signature(operation: Operation) -> inspect.Signature:
    return inspect.signature(operation)


# -- The calling side ------------------------------------------------------------------------------
def encode_call(
    volume: str, operation: Operation, vfolder: str, *args: object, **kwargs: object
) -> bytes:
    """Return the operation with its arguments as bytes.

    Raises:
        TypeError: the operation is not one that other nodes do.
    """
    name = name_of(operation)
    if name not in (IN_VFOLDER if vfolder else ON_VOLUME):
        raise TypeError(f"{name} is not among the operations that another node does")
    bound = _signature(operation).bind(None, *args, **kwargs).arguments
    arguments = dict(list(bound.items())[1:])
    carried = {k: v for k, v in arguments.items() if not isinstance(v, UploadStore)}
    return pack(OperationCall(volume, name, carried, vfolder))


def decode_outcome(operation: Operation, data: bytes) -> Any:  # noqa: ANN401 - what the operation returns
    """Return what the operation returned, or raise what it raised.

    Raises:
        StorageError: of the very class that was raised on the other node.
    """
    outcome = unpack(data, dict[str, Any])
    if error := outcome.get("error"):
        kind = _kinds().get(error["kind"], Defect)
        raised = kind.__new__(kind)
        StorageError.__init__(raised, error["detail"], **error["facts"])
        raise raised
    return convert(outcome["value"], _hints(operation)["return"], builtin_types=_PLAIN)


@cache
def _kinds() -> dict[str, type[StorageError]]:
    found: dict[str, type[StorageError]] = {}
    todo = [StorageError]
    while todo:
        kind = todo.pop()
        found[kind.__name__] = kind
        todo += kind.__subclasses__()
    return found


# -- The answering side ----------------------------------------------------------------------------
def decode_call(data: bytes) -> OperationCall:
    """Return the call that these bytes are.

    Raises:
        ValueError: they are none.
    """
    found: OperationCall = unpack(data, OperationCall)
    return found


def perform(call: OperationCall, backend: Backend, uploads: UploadStore) -> bytes:
    """Do the operation and return its outcome for `decode_outcome`; an error is an outcome too."""
    try:
        return pack({"value": _perform(call, backend, uploads)})
    except StorageError as error:
        return encode_error(error)
    except OSError as error:
        return encode_error(translate(error))
    except Exception:  # noqa: BLE001 - the caller must get an answer, whatever happens
        _log.exception("operation broke", operation=call.operation, volume=call.volume)
        return encode_error(
            Defect("Something went wrong at the volume's node; its log has the story.")
        )


def encode_error(error: StorageError) -> bytes:
    """Return the outcome of an operation that failed; facts that cannot travel are left out."""
    facts = {key: value for key, value in error.facts.items() if _travels(value)}
    return pack({"error": {"kind": type(error).__name__, "detail": error.detail, "facts": facts}})


def _perform(call: OperationCall, backend: Backend, uploads: UploadStore) -> Any:  # noqa: ANN401 - what the operation returns
    operations = IN_VFOLDER if call.vfolder else ON_VOLUME
    if call.operation not in operations:
        raise Unsupported(f"No operation is called {call.operation}.")
    operation = operations[call.operation]
    arguments = _arguments(operation, call.arguments, uploads)
    if not call.vfolder:
        return operation(backend, **arguments)
    return object_tree.perform(backend, VFolderId.parse(call.vfolder), operation, **arguments)


def _arguments(
    operation: Operation, carried: dict[str, Any], uploads: UploadStore
) -> dict[str, Any]:
    hints = _hints(operation)
    found: dict[str, Any] = {}
    for name in list(_signature(operation).parameters)[1:]:
        if hints[name] is UploadStore:
            found[name] = uploads
        elif name in carried:
            try:
                found[name] = convert(carried[name], hints[name], builtin_types=_PLAIN)
            except msgspec.ValidationError as error:
                raise InvalidParameters(f"{name}: {error}.") from error
            _check_paths(found[name])
    return found


def _check_paths(value: Any) -> None:  # noqa: ANN401 - any argument
    """Parse each path again: its parts came from another process and are not trusted."""
    for path in value if isinstance(value, list) else [value]:
        if isinstance(path, VFolderPath) and VFolderPath.parse(str(path)) != path:
            raise InvalidName("A path has parts that are no names.")


def _travels(value: Any) -> bool:  # noqa: ANN401 - a fact of an error
    try:
        pack(value)
    except (TypeError, ValueError):
        return False
    return True
