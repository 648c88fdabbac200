"""An act on its way to another node and back: as msgpack, by the act's own annotations.

Names that are not UTF-8 travel as their bytes. What cannot travel and every node has of its own
(the store of uploads) is left out and put in again over there.
"""

import inspect
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any, get_type_hints

import msgpack
import msgspec
from msgspec import Struct, convert, to_builtins

from backends.base import Backend
from backends.fs import translate
from backends.volumes.operations import IN_VFOLDER, ON_VOLUME, Act, name_of
from core import errors
from core.errors import Defect, InvalidParameters, StorageError
from core.names import VFolderId, VFolderPath
from core.telemetry import logger
from core.uploads import UploadStore

_PLAIN = (bytes, bytearray, datetime)
_SURROGATES = "surrogateescape"
_log = logger(__name__)


class Wanted(Struct, frozen=True):
    """An act to be done: on a volume, or in a vfolder of it."""

    volume: str
    act: str
    arguments: dict[str, Any]
    vfolder: str = ""


# -- Values ----------------------------------------------------------------------------------------
def pack(value: Any) -> bytes:  # noqa: ANN401 - any value of an act
    """A value as bytes."""
    plain = to_builtins(value, builtin_types=_PLAIN)
    packed: bytes = msgpack.packb(plain, datetime=True, unicode_errors=_SURROGATES)
    return packed


def unpack(data: bytes, kind: Any) -> Any:  # noqa: ANN401 - any value of an act
    """The value of a kind that `pack` made bytes of.

    Raises:
        ValueError: it is none.
    """
    plain = msgpack.unpackb(data, timestamp=3, unicode_errors=_SURROGATES)
    return convert(plain, kind, builtin_types=_PLAIN)


@cache
def _hints(act: Act) -> dict[str, Any]:
    return get_type_hints(act)


@cache
def _signature(act: Act) -> inspect.Signature:
    return inspect.signature(act)


# -- The asking side -------------------------------------------------------------------------------
def request(volume: str, act: Act, vfolder: str, *args: Any, **kwargs: Any) -> bytes:  # noqa: ANN401 - any act's arguments
    """The act with its arguments, as bytes.

    Raises:
        TypeError: the act is not one that travels.
    """
    name = name_of(act)
    if name not in (IN_VFOLDER if vfolder else ON_VOLUME):
        raise TypeError(f"{name} is not among the acts that another node does")
    bound = _signature(act).bind(None, *args, **kwargs).arguments
    arguments = dict(list(bound.items())[1:])
    carried = {k: v for k, v in arguments.items() if not isinstance(v, UploadStore)}
    return pack(Wanted(volume, name, carried, vfolder))


def result(act: Act, data: bytes) -> Any:  # noqa: ANN401 - what the act gives
    """What the act gave, or raise what it raised.

    Raises:
        StorageError: of the very class that was raised there.
    """
    outcome = unpack(data, dict[str, Any])
    if error := outcome.get("error"):
        kind = _kinds().get(error["kind"], Defect)
        raised = kind.__new__(kind)
        StorageError.__init__(raised, error["detail"], **error["facts"])
        raise raised
    return convert(outcome["value"], _hints(act)["return"], builtin_types=_PLAIN)


@cache
def _kinds() -> dict[str, type[StorageError]]:
    found: dict[str, type[StorageError]] = {}
    todo = [StorageError]
    while todo:
        kind = todo.pop()
        found[kind.__name__] = kind
        todo += kind.__subclasses__()
    return found


# -- The doing side --------------------------------------------------------------------------------
def wanted(data: bytes) -> Wanted:
    """Read a request.

    Raises:
        ValueError: it is none.
    """
    found: Wanted = unpack(data, Wanted)
    return found


def do(want: Wanted, backend_of: Callable[[str], Backend], uploads: UploadStore) -> bytes:
    """Do the act and give what `result` reads; an error is an answer too."""
    try:
        return pack({"value": _do(want, backend_of(want.volume), uploads)})
    except StorageError as error:
        return _refusal(error)
    except OSError as error:
        return _refusal(translate(error))
    except Exception:  # noqa: BLE001 - whatever it is, the asker must hear of it
        _log.exception("act broke", operation=want.act, volume=want.volume)
        return _refusal(Defect("Something went wrong at the volume's node; its log has the story."))


def _do(want: Wanted, backend: Backend, uploads: UploadStore) -> Any:  # noqa: ANN401 - what the act gives
    acts = IN_VFOLDER if want.vfolder else ON_VOLUME
    if want.act not in acts:
        raise errors.Unsupported(f"No act is called {want.act}.")
    act = acts[want.act]
    arguments = _arguments(act, want.arguments, uploads)
    if not want.vfolder:
        return act(backend, **arguments)
    with backend.open_vfolder(VFolderId.parse(want.vfolder)) as root:
        return act(root, **arguments)


def _arguments(act: Act, carried: dict[str, Any], uploads: UploadStore) -> dict[str, Any]:
    hints = _hints(act)
    found: dict[str, Any] = {}
    for name in list(_signature(act).parameters)[1:]:
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
    """A path that came as parts is read anew, as if a stranger had written it."""
    for path in value if isinstance(value, list) else [value]:
        if isinstance(path, VFolderPath) and VFolderPath.parse(str(path)) != path:
            raise errors.InvalidName("A path has parts that are no names.")


def _refusal(error: StorageError) -> bytes:
    facts = {key: value for key, value in error.facts.items() if _travels(value)}
    told = {"kind": type(error).__name__, "detail": error.detail, "facts": facts}
    return pack({"error": told})


def _travels(value: Any) -> bool:  # noqa: ANN401 - a fact of an error
    try:
        pack(value)
    except (TypeError, ValueError):
        return False
    return True
