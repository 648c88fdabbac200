"""A job of ten minutes and a slow clone through three restarts of everything: what is done again.

Two workers and the store are killed with -9 and started again three times. Prints, per restart, how
long no effect happened and how many effects were lost; the clone must equal its source at the end.
`--seconds N` makes it shorter.
"""

import itertools
import sys
import tempfile
import time
from pathlib import Path

from core.jobs import Job
from tests.chaos.check import violations
from tests.chaos.site import LEASE_SECONDS, VOLUME, Site
from tests.chaos.test_chaos import all_ended, differs
from tests.support.valkey import running_valkey
from workers.run.run import RENEWALS_PER_LEASE

SECONDS = 600.0
ITEM_MILLISECONDS = 25
FILES = 4000
FILE_MEAN_BYTES = 1500
RESTARTS = 3


def main(arguments: list[str]) -> None:
    seconds = SECONDS
    if "--seconds" in arguments:
        seconds = float(arguments[arguments.index("--seconds") + 1])
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "store").mkdir()
        with running_valkey(directory / "store") as valkey:
            site = Site(directory, valkey, seed=1)
            try:
                run(site, seconds)
            finally:
                site.stop()


def run(site: Site, seconds: float) -> None:
    items = int(seconds * 1000 / ITEM_MILLISECONDS)
    source, target = site.filled(FILES), site.vfolder()
    site.start()
    # The exercise takes no bytes of the budget: the clone gets its half.
    site.budgets.set(VOLUME, int(2 * FILES * FILE_MEAN_BYTES / seconds))
    jobs = [site.exercise(items, ITEM_MILLISECONDS), site.clone(source, target)]
    for _ in range(RESTARTS):
        time.sleep(seconds / (RESTARTS + 1))
        restart(site)
    while not all_ended(site, jobs):
        time.sleep(0.2)
    report(site, [site.store.get(job.id) for job in jobs], items)
    print(f"clone differs from its source by: {differs(site, source, target) or 'nothing'}")


def restart(site: Site) -> None:
    for worker in site.workers:
        worker.send(9)
    site.valkey.kill()
    site.valkey.start()
    for worker in site.workers:
        if worker.process is not None:
            worker.process.wait()
        worker.start()


def report(site: Site, jobs: list[Job], items: int) -> None:
    exercise = jobs[0]
    lines = (site.volume / f"ledger-{exercise.id}").read_text().splitlines()
    effects = [(run, float(began), float(ended)) for run, _, began, ended in map(str.split, lines)]
    gaps = [
        after[1] - before[2]
        for before, after in itertools.pairwise(effects)
        if before[0] != after[0]
    ]
    for job in jobs:
        print(f"{job.verb}: {job.state.value} in attempt {job.attempt} {job.member('error') or ''}")
    print(f"standstill per restart: {', '.join(f'{gap:.1f} s' for gap in gaps)}")
    begun_twice = len(gaps)  # the effect at work when the run was killed is begun again
    print(f"effects begun again: {begun_twice} of {items} ({ITEM_MILLISECONDS} ms each)")
    print(f"one heartbeat interval: {LEASE_SECONDS / RENEWALS_PER_LEASE:.1f} s")
    found = violations(site.volume, {exercise.id: items})
    print(f"checker: {found or 'every effect exactly once'}")
    if found:
        sys.exit(1)
