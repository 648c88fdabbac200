"""Compare what a transfer staged with its source, before it is published.

A source that changed since the copy began (by the kernel's time of its last change, `st_ctime`) is
no fault of the copy: such entries are counted and named. Only a difference from a source that did
not change means that something was copied wrongly.
"""

from collections.abc import Callable
from dataclasses import dataclass

from backends.tree import (
    DATA_ASPECTS,
    Aspect,
    Change,
    CompareOptions,
    Difference,
    RemoteTree,
    Selection,
    TreeManifest,
    below_replaced_of,
    compare_sides,
)
from core.errors import BackendFailed, CopyDiffers
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


@dataclass(frozen=True, slots=True)
class CopyTerms:
    """What a comparison needs to tell changes of the source from faults of the copy."""

    #: Changes from this moment on are tolerated; None: no change is.
    since_ns: int | None
    #: Where the copy recorded its plan.
    record: TreeManifest
    on_change: Callable[[Change], None]


def verify_staged(
    context: Context,
    sides: tuple[int | RemoteTree, int],
    terms: CopyTerms,
    options: CompareOptions,
) -> None:
    """Compare the staged tree, the second one, with its source.

    Raises:
        BackendFailed: they differ; the error names at most `DIFFERENCES_SHOWN` differences.
    """
    entries, size_bytes = context.run.progress.planned("copy")
    context.run.phase("verify")
    context.run.expect(entries, size_bytes if options.digest else None)
    found = compare_sides(*sides, control=context.run, options=options, on_change=terms.on_change)
    wrong = _without_changes(list(found), sides[0], terms)
    shown = [f"{d.path}: {d.aspect} {d.detail}" for d in wrong[:DIFFERENCES_SHOWN]]
    if not shown:
        return
    if terms.since_ns is None:
        raise CopyDiffers(
            "The copy differs from its source, which may have changed meanwhile; try again.",
            data={"differences": shown},
        )
    raise BackendFailed(
        "The copy differs from its source, which did not change meanwhile.",
        data={"differences": shown},
    )


def _without_changes(
    differences: list[Difference], source: int | RemoteTree, terms: CopyTerms
) -> list[Difference]:
    """Return the differences without those below directories that others have replaced."""
    if not differences or terms.since_ns is None:
        return differences
    replaced = below_replaced_of(terms.record, source, {one.path for one in differences})
    changes: dict[str, list[Aspect]] = {}
    for one in differences:
        if one.path in replaced and one.aspect is not Aspect.MISSING:
            changes.setdefault(one.path, []).append(one.aspect)
    for path, aspects in changes.items():
        terms.on_change(Change(path, tuple(aspects)))
    return [one for one in differences if one.path not in replaced]
