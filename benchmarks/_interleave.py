"""Run variants in turn, round after round, and tell medians of the ratios to a reference."""

import os
import resource
import statistics
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

_FIGURES = struct.Struct("dd")


@dataclass(frozen=True)
class Sample:
    """One run: seconds by the clock, seconds of CPU of the whole process tree, peak KiB."""

    wall: float
    cpu: float
    peak_kib: int


@dataclass
class Variant:
    """Something to measure: `run` does it, `prepare` makes ready for it unmeasured.

    `run` is a command (a list) or a function that is called in a forked child. With `warm` the
    child calls that first, and the time is that of the function alone, without the child's start
    and end: what a worker sees that has done such a job before.
    """

    name: str
    run: Callable[[int], Sequence[str] | Callable[[], object]]
    prepare: Callable[[int], object] = lambda _: None
    warm: Callable[[], object] | None = None
    samples: list[Sample] = field(default_factory=list)


def quiet(seconds: float = 1.0) -> None:
    """Wait, but not for ever, until hardly anything else runs on this machine."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        idle = _idle_seconds()
        time.sleep(0.25)
        if (_idle_seconds() - idle) / 0.25 > len(os.sched_getaffinity(0)) - 0.3:
            return


def _idle_seconds() -> float:
    first = Path("/proc/stat").read_text("ascii").splitlines()[0].split()
    return (int(first[4]) + int(first[5])) / os.sysconf("SC_CLK_TCK")


def measure(
    job: Sequence[str] | Callable[[], object], warm: Callable[[], object] | None = None
) -> Sample:
    if warm is not None and callable(job):
        return _measure_inside(job, warm)
    began = time.perf_counter()
    if callable(job):
        pid = os.fork()
        if pid == 0:
            _child(job)
    else:
        devnull = os.open(os.devnull, os.O_WRONLY)
        pid = os.posix_spawnp(
            job[0], list(job), os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, devnull, 1)]
        )
        os.close(devnull)
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - began
    if status:
        raise SystemExit(f"a run failed with status {status:#x}: {job}")
    return Sample(wall, used.ru_utime + used.ru_stime, used.ru_maxrss)


def _measure_inside(job: Callable[[], object], warm: Callable[[], object]) -> Sample:
    ours, theirs = os.pipe()

    def run() -> None:
        warm()
        began, before = time.perf_counter(), _own_cpu()
        job()
        figures = (time.perf_counter() - began, _own_cpu() - before)
        os.write(theirs, _FIGURES.pack(*figures))

    whole = measure(run)
    os.close(theirs)
    wall, cpu = _FIGURES.unpack(os.read(ours, _FIGURES.size))
    os.close(ours)
    return Sample(wall, cpu, whole.peak_kib)


def _own_cpu() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def _child(job: Callable[[], object]) -> NoReturn:
    status = 1
    try:
        job()
        status = 0
    except BaseException:  # noqa: BLE001 - shown, and reported by the exit status
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def interleave(variants: list[Variant], rounds: int) -> None:
    """Run every variant once per round; the order turns so that none is always first."""
    for number in range(rounds):
        turn = number % len(variants)
        for variant in variants[turn:] + variants[:turn]:
            variant.prepare(number)
            quiet()
            variant.samples.append(measure(variant.run(number), variant.warm))


def table(variants: list[Variant], reference: str, unit: Callable[[float], str]) -> None:
    """Print wall, CPU and their ratios to the reference: medians over the rounds."""
    base = next(variant for variant in variants if variant.name == reference).samples
    print(f"  {'':34} {'wall':>9} {'cpu':>9} {'wall x':>8} {'cpu x':>7} {'min-max x':>12}  rate")
    for variant in variants:
        walls = [sample.wall for sample in variant.samples]
        ratios = [a.wall / b.wall for a, b in zip(variant.samples, base, strict=True)]
        cpus = [a.cpu / max(b.cpu, 0.001) for a, b in zip(variant.samples, base, strict=True)]
        wall = statistics.median(walls)
        cpu = statistics.median(sample.cpu for sample in variant.samples)
        spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
        print(
            f"  {variant.name:34} {wall:8.3f}s {cpu:8.3f}s {statistics.median(ratios):8.2f} "
            f"{statistics.median(cpus):7.2f} {spread:>12}  {unit(wall)}",
            flush=True,
        )


def settle(path: Path) -> None:
    """Bring everything written so far to disk, so that it does not disturb the next run."""
    subprocess.run(["sync", "-f", path], check=True)


def forget_caches() -> None:
    """Empty the page, dentry and inode caches (root)."""
    subprocess.run(["sync"], check=True)
    Path("/proc/sys/vm/drop_caches").write_text("3\n", "ascii")


def rate(amount: float, what: str) -> Callable[[float], str]:
    return lambda wall: f"{amount / wall:,.0f} {what}/s"


def own_peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
