"""What all commands of people share: the context, the output, and errors with exit statuses."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from api.cli.forms import (
    ABSENT,
    CANCELLED,
    FAILED,
    FORBIDDEN,
    INTERRUPTED,
    LIMITED,
    PARTIAL,
    USAGE,
    ApiRefused,
    Output,
    chosen_options,
    output_options,
)
from core.names import printable

if TYPE_CHECKING:  # loading it takes longer than to print the help of a command
    from vfolder_client import Client

_LOGIN = "`vfolder login URL` signs in"
_CONTEXT = click.option(
    "--context", "context_name", help="The context to use (VFOLDER_CONTEXT); see `context list`."
)
#: Exit statuses of jobs that ended otherwise.
_OF_JOBS = {"partial": PARTIAL, "cancelled": CANCELLED}


def client_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--context`, `-o` and `--json`; the arguments are the client and `output`."""

    @_CONTEXT
    @output_options
    @wraps(command)
    def wrapped(*, output: Output, **given: Any) -> Any:  # noqa: ANN401 - click passes any
        given.pop("context_name")
        with errors_shown(), opened_client(chosen_options("context_name")["context_name"]) as door:
            return command(door, output=output, **given)

    return wrapped


@contextmanager
def opened_client(name: str | None) -> "Iterator[Client]":
    """Give the client of a context."""
    from vfolder_client import Client  # noqa: PLC0415 - see above

    with Client.from_context(name) as client:
        yield client


@contextmanager
def errors_shown() -> Iterator[None]:
    """Turn errors of the library and of local files into those of the command line.

    Raises:
        ApiRefused: with the exit status that says what kind of error it is.
    """
    from vfolder_client.errors import ClientError  # noqa: PLC0415 - see above

    try:
        yield
    except ClientError as error:
        raise refusal_of(error) from error
    except KeyboardInterrupt:
        click.echo("", err=True)
        raise ApiRefused("Interrupted.", exit_code=INTERRUPTED) from None
    except BrokenPipeError:
        raise
    except ValueError as error:
        raise ApiRefused(str(error), exit_code=USAGE) from error
    except OSError as error:
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise ApiRefused(f"{text}.") from error


def refusal_of(error: Exception) -> ApiRefused:
    """Return the error of the command line for one of the library."""
    fields = tuple(getattr(error, "fields", ()))
    code = getattr(error, "error_code", "")
    detail = f"{error} [{code}]" if code else str(error)
    return ApiRefused(detail, _hint(error), exit_status(error), fields)


def exit_status(error: Exception) -> int:
    """Return the exit status for an error: 5 no permission, 6 not there, 7 a limit is reached."""
    from vfolder_client import errors  # noqa: PLC0415 - see above

    match error:
        case errors.NotAuthenticated() | errors.NotPermitted():
            return FORBIDDEN
        case errors.Absent():
            return ABSENT
        case errors.LimitReached():
            return LIMITED
        case errors.BadRequest() | errors.ContextError():
            return USAGE
        case errors.JobFailed():
            return _OF_JOBS.get(str(error.job.get("state")), FAILED)
    return FAILED


def _hint(error: Exception) -> str:
    from vfolder_client import errors  # noqa: PLC0415 - see above

    match error:
        case errors.NotAuthenticated():
            return f"the key may have ended or been revoked; {_LOGIN} again"
        case errors.NotPermitted() if error.needed and error.have:
            return f"it needs {error.needed}, and you have {error.have}; ask the owner"
        case errors.AmbiguousReference():
            return "name one of them: VOLUME:ID"
        case errors.VFolderNotFound():
            return "`vfolder ls` shows the vfolders that you may see"
        case errors.NotConnected():
            return "try again shortly; `vfolder context show` says which address it is"
    return ""


def note(text: str) -> None:
    """Print a remark on the error output."""
    click.echo(printable(text), err=True)
