"""The commands `vfolder login`, `logout`, `whoami` and `context`."""

import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from api.cli.forms import ApiRefused, Output, output_options
from api.cli.people.browser_login import key_of_browser
from api.cli.people.calls import client_options, errors_shown
from core.names import printable

if TYPE_CHECKING:  # loading it takes longer than to print the help of a command
    from vfolder_client import Client

_COLUMNS = ("current", "name", "url")


@click.command()
@click.argument("url")
@click.option("--name", help="The name of the context; the host of URL when absent.")
@click.option("--key-stdin", is_flag=True, help="Read the key from the standard input.")
@click.option("--oidc", is_flag=True, help="Sign in by a browser, and paste its code here.")
@click.option("--issuer", help="With --oidc: where, if the service has several issuers.")
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="The certificate of the authority, where this system does not trust it.",
)
@click.option("--plain-http", is_flag=True, help="Send the key without encryption.")
@click.option("--no-keyring", is_flag=True, help="Keep the key in the file of contexts.")
@output_options
def login(
    *,
    url: str,
    name: str | None,
    key_stdin: bool,
    oidc: bool,
    issuer: str | None,
    ca: str | None,
    plain_http: bool,
    no_keyring: bool,
    output: Output,
) -> None:
    """Sign in at URL with an API key or a token, and keep it for the other commands.

    With --oidc a browser signs in, here or on another machine, and its code is pasted here. Such a
    sign-in ends after some hours.

    The key is never an argument: other users of this machine see those. It is kept in the keyring
    of the system, where Python's `keyring` is installed and finds one; else in
    ~/.config/vfolder/contexts.toml, which only you can read.
    """
    from vfolder_client import Client, Context, Contexts, check_key, check_url  # noqa: PLC0415 - see above

    with errors_shown():
        url = check_url(url, plain_http=plain_http)
        contexts = Contexts()
        if oidc and key_stdin:
            raise ApiRefused("--oidc and --key-stdin are two ways to sign in.", "choose one", 2)
        found = key_of_browser(url, ca, issuer) if oidc else _key(from_stdin=key_stdin)
        key = check_key(found)
        context = Context(name or urlsplit(url).hostname or "default", url, key, ca)
        with Client.of(context) as client:
            me = client.me()
        contexts.add(context, keyring=not no_keyring)
    if output.is_data:
        output.data({"context": context.name, "url": context.url, "me": me})
        return
    click.echo(f"Signed in at {context.url} as {_subject(me)}; this is context {context.name}.")


def _key(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().strip()
    if not sys.stdin.isatty():
        raise ApiRefused("There is no terminal to ask for the key.", "use --key-stdin", 2)
    found: str = click.prompt("Key", hide_input=True, err=True)
    return found.strip()


def _subject(me: Any) -> str:  # noqa: ANN401 - the document of /v1/me
    subject = me["subject"]
    name = f" ({subject['name']})" if subject.get("name") else ""
    return printable(f"{subject['kind']} {subject['id']}{name}")


@click.command()
@click.argument("name", required=False)
@click.option("--revoke", is_flag=True, help="Also end the key, for all machines that have it.")
def logout(*, name: str | None, revoke: bool) -> None:
    """Forget the key of a context: NAME, or the current one. The key itself stays valid."""
    from vfolder_client import Client, Contexts  # noqa: PLC0415 - see above

    with errors_shown():
        contexts = Contexts()
        context = contexts.get(name)
        if revoke:
            with Client.of(context) as client:
                _revoke_own(client)
        contexts.remove(context.name)
    click.echo(f"Forgot the key of context {context.name}.")


def _revoke_own(client: "Client") -> None:
    credential = client.me()["credential"]
    if credential["kind"] == "cookie":
        client.connection.send("DELETE", "/v1/signin")
        return
    if credential["kind"] != "key":
        raise ApiRefused(
            "The context has a token; it cannot be revoked here.", "leave out --revoke"
        )
    client.keys.revoke(credential["id"])


@click.command()
@click.option("--id", "only_id", is_flag=True, help="Only what others share with: user:UUID.")
@client_options
def whoami(client: "Client", *, only_id: bool, output: Output) -> None:
    """Say who you are, by which credential, and what it may do."""
    me = client.me()
    if only_id:
        click.echo(f"user:{me['subject']['id']}")
        return
    if output.is_data:
        output.data(me)
        return
    credential = me["credential"]
    groups = [f"{one['id']}{' (admin)' if one['admin'] else ''}" for one in me["groups"]]
    facts = {
        "subject": _subject(me),
        "groups": ", ".join(groups),
        "credential": f"{credential['kind']} {credential['id']}",
        "scopes": ", ".join(credential["scopes"]),
        "ends": credential["expires_at"] or "",
        "volumes": ", ".join(me["volumes"]),
        "server": f"{client.connection.url} (version {me['version']})",
    }
    for fact, value in facts.items():
        if value:
            click.echo(f"{fact}: {printable(value)}")


@click.group()
def context() -> None:
    """Contexts: the services that you signed in at."""


@context.command("list")
@output_options
def list_contexts(*, output: Output) -> None:
    """List the contexts."""
    from vfolder_client import Contexts  # noqa: PLC0415 - see above

    with errors_shown():
        contexts = Contexts()
    found = sorted(contexts.known.values(), key=lambda one: one.name)
    if output.is_data:
        for one in found:
            current = one.name == contexts.current
            output.data({"name": one.name, "url": one.url, "current": current})
        return
    rows = [["*" if one.name == contexts.current else "", one.name, one.url] for one in found]
    output.table(_COLUMNS, rows, "No context; `vfolder login URL` makes one.")


@context.command()
@click.argument("name")
def use(*, name: str) -> None:
    """Make NAME the current context."""
    from vfolder_client import Contexts  # noqa: PLC0415 - see above

    with errors_shown():
        Contexts().use(name)


@context.command()
@click.argument("name", required=False)
@output_options
def show(*, name: str | None, output: Output) -> None:
    """Show the context that commands use now, or NAME. Its key is never shown."""
    from vfolder_client import contexts_path, current_context  # noqa: PLC0415 - see above

    with errors_shown():
        found = current_context(name)
    document = {"name": found.name, "url": found.url, "ca": found.ca, "file": str(contexts_path())}
    if output.is_data:
        output.data(document)
        return
    for fact, value in document.items():
        if value:
            click.echo(f"{fact}: {printable(str(value))}")
