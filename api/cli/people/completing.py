"""Completion of remote names: vfolders, and the entries of the directory that is being written.

A shell waits for it, so it asks once, briefly, and says nothing when there is no answer.
"""

from typing import TYPE_CHECKING, Any

from click.shell_completion import CompletionItem

from core.names import printable

if TYPE_CHECKING:
    import click

    from vfolder_client import Client

#: How long a door may take to accept the connection, and to answer (seconds).
_TIMEOUTS = (1.0, 3.0)
#: The most names that are shown.
_SHOWN_MAX = 200


def remote_names(context: "click.Context", incomplete: str) -> "list[CompletionItem[str]]":
    """Return the vfolders, or the entries, whose names begin as what is written."""
    from vfolder_client import Client, current_context  # noqa: PLC0415 - loading it takes longer than the rest
    from vfolder_client.errors import ClientError  # noqa: PLC0415 - as above

    if incomplete.startswith(("/", ".", "~")):
        return []
    try:
        chosen = current_context(context.params.get("context_name"))
        with Client(chosen.url, chosen.key, ca=chosen.ca, patience_seconds=0) as client:
            head, colon, rest = _divided(incomplete)
            found = _entries(client, head, rest) if colon else _vfolders(client, incomplete)
    except (ClientError, OSError, ValueError):
        return []
    return [CompletionItem(f"{head}{colon}{name}" if colon else name) for name in found]


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
