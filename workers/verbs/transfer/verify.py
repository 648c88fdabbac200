"""What was staged by a transfer, compared with its source before it is published."""

from itertools import islice

from backends.tree import DATA_ASPECTS, Aspect, CompareOptions, Selection, compare_trees
from core.errors import BackendFailed
from core.jobs.requests import TransferRequest
from workers.run import Context
from workers.verbs.clone import DIFFERENCES_SHOWN


def digest_of(request: TransferRequest) -> str | None:
    """The digest that is taken of every file while it is read, if any."""
    return "xxh3" if request.verify == "checksum" else None


def verify_staged(
    context: Context,
    sides: tuple[int, int],
    request: TransferRequest,
    selection: Selection | None,
) -> None:
    """Compare as the request has it; attributes that the target cannot keep are no difference.

    Raises:
        BackendFailed: something differs; some is named.
    """
    context.run.phase("verify")
    unlooked = frozenset(Aspect) - DATA_ASPECTS
    if selection is not None or request.on_error == "skip":
        unlooked |= {Aspect.MISSING}
    digest = digest_of(request)
    options = CompareOptions(digest=digest, skip=unlooked, from_disk=True, effort=context.effort)
    found = compare_trees(*sides, control=context.run, options=options)
    shown = [f"{d.path}: {d.aspect} {d.detail}" for d in islice(found, DIFFERENCES_SHOWN)]
    if shown:
        raise BackendFailed(
            "The copy differs from its source, which may have changed meanwhile; ask again.",
            data={"differences": shown},
        )
