"""The checker: read what jobs left on the volume, and trust no component's own report."""

import subprocess
from collections import Counter, defaultdict
from pathlib import Path

from backends.fs import layout


def violations(volume: Path, items: dict[str, int]) -> list[str]:
    """Return what the ledgers of exercises prove to be wrong; `items` has the items of each job."""
    wrong: list[str] = []
    for job, count in items.items():
        lines = ledger(volume, job)
        done = Counter(int(line[1]) for line in lines)
        missing = set(range(count)) - set(done)
        if missing:
            wrong.append(f"{job}: {len(missing)} effects missing")
        twice = [item for item, times in done.items() if times > 1]
        if twice:
            wrong.append(f"{job}: {len(twice)} effects done more than once")
        wrong += _overlaps(job, lines)
    return wrong


def _overlaps(job: str, lines: list[list[str]]) -> list[str]:
    """Return the effects of two runs that worked on one job at the same time."""
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for run, _, began, ended in lines:
        spans[run].append((float(began), float(ended)))
    marks = sorted((b, e, run) for run, pairs in spans.items() for b, e in pairs)
    overlaps = 0
    latest, owner = 0.0, ""
    for began, ended, run in marks:
        if began < latest and run != owner:
            overlaps += 1
        if ended > latest:
            latest, owner = ended, run
    return [f"{job}: {overlaps} effects while another run was at work"] if overlaps else []


def ledger(volume: Path, job: str) -> list[list[str]]:
    """Return the lines of an exercise: run, item, begin, end."""
    path = volume / f"ledger-{job}"
    if not path.exists():
        return []
    return [line.split() for line in path.read_text().splitlines(keepends=True) if line[-1] == "\n"]


def differences(one: Path, two: Path, *options: str) -> str:
    """Return what rsync would change: nothing when the trees are equal."""
    compare = ["rsync", "-aHAXn", "--checksum", "--delete", "--itemize-changes", *options]
    done = subprocess.run(
        [*compare, f"{one}/", f"{two}/"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def leftovers(volume: Path, job: str = "") -> list[Path]:
    """Return what the hidden directories hold, except reports, which stay as long as their jobs.

    Name one job where tests share a volume: what another test left may wait for the sweep.
    """
    areas = (layout.STAGING, layout.TRASH, layout.JOBS)
    paths = [path for area in areas for path in volume.glob(f"*/{layout.HIDDEN}/{area}/*")]
    return [path for path in paths if path.suffix != layout.REPORT_SUFFIX and job in path.name]
