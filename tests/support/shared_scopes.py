"""Which tests one process runs one after another: those that share what is dear to start."""

import re

from xdist.scheduler import LoadFileScheduling

#: These share one complete node, the fixture `stack`.
STACK = frozenset(
    f"tests/stack/test_{name}.py"
    for name in (
        "demo",
        "generated_client",
        "metric_families",
        "nginx",
        "open_ports",
        "openapi_generator",
        "printed_urls",
        "readme",
        "released_clients",
        "whole_node",
    )
)
#: The files of this directory share one browser.
CONSOLE = "tests/api/people/console"
#: Tests of every file of the contract on CephFS, and those on its S3 gateway, share one cluster,
#: which costs much while it rests.
CEPH = re.compile(r"tests/contract/.*\[(cephfs|radosgw)\b")


class SharedScopes(LoadFileScheduling):
    """The tests of a file stay together, and so do all that share a node, a browser, a cluster."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scope_of(nodeid: str) -> str:
    """Return the name of what runs together with a test; mostly that of its file."""
    file = nodeid.partition("::")[0]
    if file in STACK:
        return "stack"
    if CEPH.match(nodeid):
        return "ceph"
    return CONSOLE if file.startswith(f"{CONSOLE}/") else file
