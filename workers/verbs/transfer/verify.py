"""Compare what a transfer staged with its source, before it is published."""

from itertools import islice

from backends.tree import DATA_ASPECTS, Aspect, CompareOptions, Selection, compare_trees
from core.errors import BackendFailed
from core.jobs.requests import TransferRequest
from workers.run import Context

#: Differences that the error of a failed verification names at most.
DIFFERENCES_SHOWN = 10


def digest_of(level: str) -> str | None:
    """Return the digest of a verification level; None for a level without digests."""
    return "xxh3" if level == "checksum" else None


def skipped_aspects(request: TransferRequest, selection: Selection | None) -> frozenset[Aspect]:
    """Return what a transfer does not compare: attributes that the target may not be able to keep.

    Entries may be missing when the request selects some, or skips those that fail.
    """
    skip = frozenset(Aspect) - DATA_ASPECTS
    if selection is not None or request.on_error == "skip":
        skip |= {Aspect.MISSING}
    return skip


def verify_staged(
    context: Context,
    sides: tuple[int, int],
    skip: frozenset[Aspect],
    digest: str | None = None,
    *,
    from_disk: bool = True,
) -> None:
    """Compare two trees, by size or by a digest of every file, read `from_disk` where possible.

    Raises:
        BackendFailed: they differ; the error names at most `DIFFERENCES_SHOWN` differences.
    """
    context.run.phase("verify")
    options = CompareOptions(digest=digest, skip=skip, from_disk=from_disk, effort=context.effort)
    differences = compare_trees(*sides, control=context.run, options=options)
    shown = [f"{d.path}: {d.aspect} {d.detail}" for d in islice(differences, DIFFERENCES_SHOWN)]
    if shown:
        raise BackendFailed(
            "The copy differs from its source, which may have changed meanwhile; ask again.",
            data={"differences": shown},
        )
