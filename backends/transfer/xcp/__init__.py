"""NetApp's migration tool XCP as a child process: start, watch, stop and judge its runs.

XCP speaks NFS to the storage itself and does not use the mount. `reading` parses what it prints,
`running` controls the process, and `tool` knows its commands. The facts are from the vendor's
guides. Those do not document exit codes, so a run succeeds only if three things hold: exit status
0, the words `STATUS : PASSED`, and no counted error. Knows no job record and no HTTP.
"""

from backends.transfer.xcp.exports import Export, exported
from backends.transfer.xcp.reading import Summary
from backends.transfer.xcp.tool import IndexLost, License, Xcp, XcpKilled

__all__ = [
    "Export",
    "IndexLost",
    "License",
    "Summary",
    "Xcp",
    "XcpKilled",
    "exported",
]
