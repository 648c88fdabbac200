"""The commands `vfolder access`: the first keys, and the chain of the audit log."""

import secrets
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import click

from api.cli.forms import CONFIG_FILE, FAILED, print_json
from core.access import PERSON_SCOPES, Scope
from core.errors import ConfigurationError, StorageError
from core.names import moment, printable
from core.process import identity
from core.redis import Database, connect
from core.settings import AccessTable, Settings, load

if TYPE_CHECKING:  # loading it takes long, and a check of the log does not need it
    from backends.volumes.access.subjects import SubjectStore
    from core.access import SubjectKind
    from core.access.credentials.keys import ApiKey

#: The subject that holds the keys of operators who are no users.
OPERATOR = uuid5(NAMESPACE_URL, "vfolder:operator")
OPERATOR_NAME = "operator"
_NOT_ON = "The configuration has no table [vfolder.access]; add it first."


_LINK = click.option(
    "--link", is_flag=True, help="Print a link that signs a browser in, once, in place of the key."
)
#: Without `--days` the key of a link ends after this: a sign-in is shorter.
_LINK_DAYS = 1.0
_VERIFIER_BYTES = 32


@click.group()
def access() -> None:
    """Operate the API for people, on a node that has its configuration."""


@access.command()
@CONFIG_FILE
@click.option("--days", type=float, help="The key ends after so many days (90).")
@click.option("--name", default="first operator key", show_default=True, help="For lists of keys.")
@click.option("--network", "networks", multiple=True, help="The key is for callers of it alone.")
@click.option("--another", is_flag=True, help="Make one although there is one already.")
@_LINK
def init(
    file: Path | None,
    *,
    days: float | None,
    name: str,
    networks: tuple[str, ...],
    another: bool,
    link: bool,
) -> None:
    """Make a key for an operator, and print it once.

    Run it on a node that mounts the home volume. The key has every scope. Operators call from
    `operator-networks` only, which is this machine unless it is set.
    """
    settings, table = _settings(file)

    def new(subjects: "SubjectStore") -> "tuple[ApiKey, str]":
        lasts = days or (_LINK_DAYS if link else None)
        return _new_operator_key(subjects, table, (name, lasts, networks), another=another)

    subject = _Subject(OPERATOR, "operator", OPERATOR_NAME, "vfolder access init")
    _make_key(settings, table, subject, new, link=link)


@access.command()
@click.argument("name")
@CONFIG_FILE
@click.option("--id", "user", type=click.UUID, help="The user's UUID; a new user without it.")
@click.option("--days", type=float, help="The key ends after so many days (90).")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(sorted(one.value for one in PERSON_SCOPES)),
    help="What the key may do; everything that a user may without it. Repeat it.",
)
@click.option("--network", "networks", multiple=True, help="The key is for callers of it alone.")
@_LINK
def user(
    name: str,
    *,
    file: Path | None,
    user: UUID | None,
    days: float | None,
    scopes: tuple[str, ...],
    networks: tuple[str, ...],
    link: bool,
) -> None:
    """Make a key for a user called NAME, and print it once.

    Each run without --id is a new user. With it the key is one more of a user that there is, or of
    one that a manager knows by this UUID. Run it on a node that mounts the home volume.
    """
    from core.access.credentials import keys  # noqa: PLC0415 - as above

    settings, table = _settings(file)
    chosen = tuple(Scope(one) for one in scopes) or tuple(PERSON_SCOPES)
    lasts = days or (_LINK_DAYS if link else None)
    request = keys.KeyRequest(scopes=chosen, networks=networks or None, expires_in_days=lasts)

    def new(_: "SubjectStore") -> "tuple[ApiKey, str]":
        return keys.new_key(request, operator=False, table=table, now=time.time())

    subject = _Subject(user or uuid4(), "user", name, "vfolder access user")
    _make_key(settings, table, subject, new, link=link)
    click.echo(f"{printable(name)} is {subject.word}.", err=True)


@dataclass(frozen=True, slots=True)
class _Subject:
    """Who gets a key, and by which command."""

    id: UUID
    kind: "SubjectKind"
    name: str
    command: str

    @property
    def word(self) -> str:
        return f"{self.kind}:{self.id}"


def _make_key(
    settings: Settings,
    table: AccessTable,
    subject: _Subject,
    new: "Callable[[SubjectStore], tuple[ApiKey, str]]",
    *,
    link: bool,
) -> None:
    """Make a key, and print it once; or a link that signs a browser in with it, once."""
    try:
        with redirect_stdout(sys.stderr):  # logs: the key is all that goes to stdout
            subjects = _subjects(settings, table)
            _become_door(settings)
            key, text = new(subjects)
            _note(settings, table, subject, key)
            subjects.add_key(subject.id, key, table, name=subject.name)
            if link:
                text = _one_time_link(settings, table, subject, key)
    except (StorageError, OSError) as error:
        raise click.ClickException(getattr(error, "detail", str(error))) from None
    click.echo(text)
    if link:
        click.echo("The link is valid once, for two minutes.", err=True)
        return
    click.echo(f"This key is not shown again; it ends at {moment(key.expires_at)}.", err=True)


def _one_time_link(settings: Settings, table: AccessTable, subject: _Subject, key: "ApiKey") -> str:
    """Return the address of the console with a code that takes a sign-in of the key, once.

    The code is in the fragment, which browsers send to no server.
    """
    from core.access import Caller, Subject  # noqa: PLC0415 - as above
    from core.access.credentials.signins import SignIns, challenge_of  # noqa: PLC0415 - as above

    verifier = secrets.token_urlsafe(_VERIFIER_BYTES)
    holder = Subject(kind=subject.kind, id=subject.id, name=subject.name)
    caller = Caller(subject=holder, credential=key.facts)
    client = connect(settings, Database.LIVE)
    code = SignIns(table, client).hand_over(caller, challenge_of(verifier))
    door = settings.api.client
    base = settings.vfolder.doors.client_url or f"{door.scheme}://{door.address.local}"
    return f"{base.rstrip('/')}/console#code={code}.{verifier}"


@access.group()
def audit() -> None:
    """Look at the audit log of this node."""


@audit.command()
@CONFIG_FILE
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_context
def verify(context: click.Context, file: Path | None, *, as_json: bool) -> None:
    """Check that no line of the audit log was changed, removed or inserted.

    The exit status is 1 when the chain is broken. Whether the newest lines were removed cannot be
    seen here; the store has copies of them.
    """
    from core.access import audit as audit_log  # noqa: PLC0415 - its name is that of the group

    settings, _ = _settings(file, ask_etcd=False)
    try:
        count, broken = audit_log.verify(settings.state_dir / audit_log.DIRECTORY)
    except OSError as error:
        raise click.ClickException(f"Cannot read {error.filename}: {error.strerror}.") from None
    if as_json:
        print_json({"lines": count, "broken": [one._asdict() for one in broken]})
    else:
        for one in broken:
            click.echo(f"{one.file}:{one.line}: {one.text}")
        click.echo(f"{count} lines, {'no line is broken' if not broken else 'broken as above'}.")
    if broken:
        context.exit(FAILED)


def _settings(file: Path | None, *, ask_etcd: bool = True) -> tuple[Settings, AccessTable]:
    try:
        settings = load(file.absolute() if file else None, ask_etcd=ask_etcd)
    except ConfigurationError as error:
        raise click.ClickException(error.detail) from None
    if settings.vfolder.access is None:
        raise click.ClickException(_NOT_ON)
    return settings, settings.vfolder.access


def _become_door(settings: Settings) -> None:
    """Become the user of the doors, so that these can read and write what is made here."""
    from core.access.audit import make_directory  # noqa: PLC0415 - as above

    identity.become(identity.configured(settings.storage_proxy), make_directory(settings.state_dir))


def _subjects(settings: Settings, table: AccessTable) -> "SubjectStore":
    from backends.volumes.access.subjects import LocalVolumes, SubjectStore  # noqa: PLC0415 - loading it takes long

    home = table.home_volume(settings.volume)
    if home not in settings.volume:
        raise click.ClickException(f"This node does not serve {home}; run this on one that does.")
    client = connect(settings, Database.LIVE)
    secrets = settings.seal_secrets
    return SubjectStore(home, secrets, LocalVolumes(settings), client)


def _new_operator_key(
    subjects: "SubjectStore",
    table: AccessTable,
    wanted: tuple[str, float | None, tuple[str, ...]],
    *,
    another: bool,
) -> "tuple[ApiKey, str]":
    from backends.volumes.access.subjects import keys_of  # noqa: PLC0415 - loading it takes long
    from core.access.credentials import keys  # noqa: PLC0415 - as above

    name, days, networks = wanted
    now = time.time()
    record = subjects.read(OPERATOR)
    if record is not None and any(key.live(now) for key in keys_of(record)) and not another:
        raise click.ClickException("There is an operator key; --another makes one more.")
    request = keys.KeyRequest(
        name=name, scopes=tuple(Scope), networks=networks or None, expires_in_days=days
    )
    return keys.new_key(request, operator=True, table=table, now=now)


def _note(settings: Settings, table: AccessTable, subject: _Subject, key: "ApiKey") -> None:
    """Write the line of the new key into the audit log, before there is the key."""
    from core.access.audit import AuditEntry, AuditLog  # noqa: PLC0415 - as above

    entry = AuditEntry(
        act="keys.manage",
        decision="allowed",
        subject=subject.word,
        via=subject.command,
        after={"key": key.id, "name": key.name, "expires_at": moment(key.expires_at)},
    )
    AuditLog(settings.state_dir, table, connect(settings, Database.LIVE)).write(entry)
