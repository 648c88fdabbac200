"""Memory and time per entry at 20,000 and at 2,000,000 entries: measure, walk, copy, delete."""

from collections.abc import Callable
from pathlib import Path

from backends.tree import walk
from benchmarks._engine import anchor, copying, measuring, removing
from benchmarks._interleave import Sample, measure, settle
from benchmarks._places import loop, options
from core.jobs import Unattended

PER_DIRECTORY = 200
FLAT = 1_000_000


def main(arguments: list[str]) -> None:
    chosen = options(arguments, rounds=1, entries=2_000_000)
    with loop("ext4", 64) as mount:
        small = _results(mount, 20_000)
        large = _results(mount, chosen.entries)
        print(f"  {'':10} {'us per entry':>26} {'ratio':>6} {'peak MiB':>18} {'more':>6}")
        for name, few in small.items():
            many = large[name]
            costs = few.wall / 20_000 * 1e6, many.wall / chosen.entries * 1e6
            peaks = few.peak_kib / 1024, many.peak_kib / 1024
            print(
                f"  {name:10} {costs[0]:12.1f} {costs[1]:13.1f} {costs[1] / costs[0]:6.2f} "
                f"{peaks[0]:8.0f} {peaks[1]:9.0f} {peaks[1] - peaks[0]:6.0f}",
                flush=True,
            )
        _flat(mount)


def _flat(mount: Path) -> None:
    """One directory of a million entries."""
    place = mount / "flat"
    fill(place, FLAT, FLAT)
    settle(mount)
    for name, job in {
        "measure": measuring(place, 2),
        "walk": _walking(place),
        "delete": removing(place, 2),
    }.items():
        sample = measure(job)
        print(
            f"  {name} of one directory of {FLAT:,}: {sample.wall / FLAT * 1e6:.1f} us per entry, "
            f"peak {sample.peak_kib / 1024:.0f} MiB",
            flush=True,
        )


def _results(mount: Path, entries: int) -> dict[str, Sample]:
    place, target = mount / f"tree{entries}", mount / f"copy{entries}"
    fill(place, entries, PER_DIRECTORY)
    jobs: dict[str, Callable[[], object]] = {
        "measure": measuring(place, 2),
        "walk": _walking(place),
        "copy": copying(place, target, 2),
        "delete": removing(target, 2),
    }
    results = {}
    for name, job in jobs.items():
        settle(mount)
        results[name] = measure(job)
    return results


def _walking(place: Path) -> Callable[[], object]:
    return lambda: sum(1 for _ in walk(anchor(place), control=Unattended()))


def fill(root: Path, entries: int, per_directory: int) -> None:
    for number in range(0, entries, per_directory):
        below = root / f"{number // 20_000:05d}" / f"{number:09d}"
        below.mkdir(parents=True)
        for file in range(min(per_directory, entries - number)):
            (below / f"file{file:07d}").touch()
