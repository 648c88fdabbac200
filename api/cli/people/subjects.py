"""People and groups by name: in arguments of commands, and as a shell completes them."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from api.cli.forms import ABSENT, USAGE, ApiRefused
from core.names import printable

if TYPE_CHECKING:  # loading it takes longer than to print the help of a command
    from click.shell_completion import CompletionItem

    from vfolder_client import Client, KnownSubject

_KINDS = ("user", "group")


class Who(click.ParamType[str]):
    """A user or a group: `user:UUID`, `group:UUID`, a name, or a name behind its kind."""

    name = "who"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as click has it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        """Return the text, or fail where it is empty."""
        text = str(value).strip()
        if not text or text in [f"{kind}:" for kind in _KINDS]:
            self.fail("it is empty; write a name, user:UUID or group:UUID.", param, ctx)
        return text

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - as click has it
        incomplete: str,
    ) -> "list[CompletionItem[str]]":
        """Return the names of users and groups that begin so."""
        from api.cli.people.completing import subject_names  # noqa: PLC0415 - no other command needs it

        return subject_names(ctx, incomplete)


def word_of(client: "Client", who: str) -> str:
    """Return `user:UUID` or `group:UUID` for what a person wrote.

    Raises:
        ApiRefused: no one is found by it, or several are; the hint has the choices.
    """
    kind, colon, rest = who.partition(":")
    known = kind.lower() in _KINDS and bool(colon)
    text = rest.strip() if known else who
    if known and _is_id(text):
        return f"{kind.lower()}:{text.lower()}"
    kinds = (kind.lower(),) if known else _KINDS
    found = [one for one in client.subjects(text) if one.kind in kinds]
    wanted = text.casefold()
    meant = [one for one in found if wanted in ((one.name or "").casefold(), one.id)]
    if len(meant) == 1:
        return f"{meant[0].kind}:{meant[0].id}"
    if meant:
        raise ApiRefused(f"Several are called {printable(text)}.", _choices(meant), USAGE)
    absent = f"No one that you can share with is called {printable(text)}."
    hint = _choices(found) if found else "write the whole name, user:UUID or group:UUID"
    raise ApiRefused(absent, hint, ABSENT)


def _choices(found: "list[KnownSubject]") -> str:
    rows = [f"{one.word} ({printable(one.name)})" if one.name else one.word for one in found]
    return f"write one of: {', '.join(rows)}"


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
