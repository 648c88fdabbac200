"""Completion of remote names: vfolders, entries of the directory that is being written, subjects.

A shell waits for it, so it asks once, briefly, and says nothing when there is no answer.
"""

from typing import TYPE_CHECKING, Any, TypeVar

from click.shell_completion import CompletionItem

from core.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    import click

    from vfolder_client import Client

#: How long a door may take to accept the connection, and to answer (seconds).
_TIMEOUTS = (1.0, 3.0)
#: The most names that are shown.
_SHOWN_MAX = 200
_KINDS = ("user", "group")
T = TypeVar("T")


def remote_names(context: "click.Context", incomplete: str) -> "list[CompletionItem[str]]":
    """Return the vfolders, or the entries, whose names begin as what is written."""
    if incomplete.startswith(("/", ".", "~")):
        return []

    def ask(client: "Client") -> list[str]:
        head, colon, rest = _divided(incomplete)
        if not colon:
            return _vfolders(client, incomplete)
        return [f"{head}{colon}{name}" for name in _entries(client, head, rest)]

    return [CompletionItem(name) for name in _asked(context, ask)]


def subject_names(context: "click.Context", incomplete: str) -> "list[CompletionItem[str]]":
    """Return the names of users and groups that begin as what is written, with their kind."""
    kind, colon, text = incomplete.partition(":")
    if not (colon and kind in _KINDS):
        kind, colon, text = "", "", incomplete

    def ask(client: "Client") -> list[dict[str, Any]]:
        from vfolder_client.documents import in_query  # noqa: PLC0415 - see above

        answer = _answer(client, f"/v1/subjects?{in_query(q=text or None)}")
        return list(answer["subjects"])

    begin = text.casefold()
    return [
        CompletionItem(f"{kind}{colon}{one['name']}", help=f"{one['kind']} {one['id']}")
        for one in _asked(context, ask)
        if kind in ("", one["kind"]) and _begins(one["name"], begin)
    ]


def _asked(context: "click.Context", ask: "Callable[[Client], list[T]]") -> list[T]:
    """Return what a door answers to a short question; nothing where it does not."""
    from vfolder_client import Client, current_context  # noqa: PLC0415 - loading it takes longer than the rest
    from vfolder_client.errors import ClientError  # noqa: PLC0415 - as above

    try:
        chosen = current_context(context.params.get("context_name"))
        with Client(chosen.url, chosen.key, ca=chosen.ca, patience_seconds=0) as client:
            return ask(client)
    except (ClientError, OSError, ValueError):
        return []


def _begins(name: str | None, begin: str) -> bool:
    return bool(name) and _is_plain(str(name)) and str(name).casefold().startswith(begin)


def _divided(text: str) -> tuple[str, str, str]:
    """Return vfolder, colon and path; `VOLUME:ID:path` has two colons."""
    from vfolder_client import is_reference  # noqa: PLC0415 - see above

    head, colon, rest = text.partition(":")
    second, more, path = rest.partition(":")
    if more and is_reference(second):
        return f"{head}:{second}", more, path
    return head, colon, rest


def _vfolders(client: "Client", begin: str) -> list[str]:
    wanted = begin.casefold()
    names = {str(one["name"]) for one in _named(client, begin) if one["name"]}
    return [
        f"{name}:"
        for name in sorted(names)
        if name.casefold().startswith(wanted) and ":" not in name and _is_plain(name)
    ]


def _named(client: "Client", name: str) -> list[dict[str, Any]]:
    from vfolder_client.documents import in_query  # noqa: PLC0415 - see above

    query = in_query(name=name or None, limit=_SHOWN_MAX)
    found: list[dict[str, Any]] = _answer(client, f"/v1/vfolders?{query}")["vfolders"]
    return found


def _reference(client: "Client", name: str) -> str:
    """Return the reference of a vfolder.

    Raises:
        ValueError: none, or several, have this name.
    """
    from vfolder_client import is_reference  # noqa: PLC0415 - see above

    if is_reference(name):
        return name
    same = [one for one in _named(client, name) if one["name"].casefold() == name.casefold()]
    (found,) = same
    return f"{found['volume']}:{found['id']}"


def _entries(client: "Client", vfolder: str, path: str) -> list[str]:
    from vfolder_client.documents import in_query  # noqa: PLC0415 - see above

    directory, slash, begin = path.rpartition("/")
    query = in_query(path=directory or None, limit=_SHOWN_MAX, prefix=begin or None)
    page = _answer(client, f"/v1/vfolders/{_reference(client, vfolder)}/entries?{query}")
    return [
        f"{directory}{slash}{one['name']}{'/' if one['kind'] == 'directory' else ''}"
        for one in page["entries"]
        if _is_plain(one["name"])
    ]


def _answer(client: "Client", path: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return what the door answers at once."""
    return client.connection.json("GET", path, timeout=_TIMEOUTS, repeatable=False)


def _is_plain(name: str) -> bool:
    """Return whether a terminal can show a name, so that a shell can take it."""
    return printable(name) == name
