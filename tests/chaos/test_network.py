"""Two nodes and one store; the connection between one node and the store is cut."""

import pytest

from core.jobs import State
from tests.chaos.check import ledger, violations
from tests.chaos.site import Setup, Site
from tests.support.cable import laid
from tests.support.node import wait_for
from tests.support.valkey import Valkey

ITEMS = 250
BEGUN = 10
#: This number of items takes longer than a lease, in an exercise that is held after its begin.
SLOW_MILLISECONDS = 80


def test_a_node_that_is_cut_off_stops_and_the_other_takes_over(
    tmp_path_factory: pytest.TempPathFactory, valkey_alone: Valkey
) -> None:
    """Both nodes still reach the volume: the node that is cut off must release the fence."""
    with laid(valkey_alone.port) as cable:
        url = valkey_alone.url.replace(str(valkey_alone.port), str(cable.port))
        setups = {"cut": Setup(store=url), "whole": Setup()}
        site = Site(tmp_path_factory.mktemp("cut"), valkey_alone, 3, setups=setups)
        cut, whole = site.workers
        cut.start()
        try:
            site.wait_for_nodes("cut")
            job = site.submit(site.held(ITEMS, SLOW_MILLISECONDS, at=2 * BEGUN))
            quick = site.exercise(BEGUN)
            site.wait_for_items(job, BEGUN)
            run = site.look(job).run
            whole.start()
            site.wait_for_nodes("cut", "whole")
            cable.cut()
            site.let_go(job)
            wait_for(lambda: len({line[0] for line in ledger(site.volume, job.id)}) > 1, 60.0)
            site.wait_for_nodes("whole")
            mine = [line for line in ledger(site.volume, job.id) if line[0] == run]
            done = site.wait_for_end(job)
            assert (done.state, done.fields["node"]) == (State.SUCCEEDED, "whole")
            fresh = site.wait_for_end(site.exercise(BEGUN))
            assert fresh.fields["node"] == "whole"
            cable.mend()
            site.wait_for_nodes("cut", "whole")
            after = site.exercise(ITEMS)
            assert site.wait_for_end(after).state is State.SUCCEEDED
            assert [line for line in ledger(site.volume, job.id) if line[0] == run] == mine
            assert violations(site.volume, {job.id: ITEMS, quick.id: BEGUN}) == []
            assert violations(site.volume, {after.id: ITEMS, fresh.id: BEGUN}) == []
            assert site.look(job).version == done.version
        finally:
            cable.mend()
            site.stop()
