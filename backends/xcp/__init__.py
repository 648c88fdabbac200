"""NetApp's migration tool XCP as a child process: asked, watched, stopped, believed with care.

XCP speaks NFS to the storage itself and does not go by the mount. What it prints is read
(`reading`), the process is kept on a short lead (`running`), and `tool` knows its commands.
Facts are from the vendor's guides; exit codes are not documented there, so success is: exit
status 0, the words `STATUS : PASSED`, and no error counted, all three.
"""

from backends.xcp.exports import Export, exported
from backends.xcp.reading import Summary
from backends.xcp.tool import IndexLost, License, Xcp, XcpKilled

__all__ = [
    "Export",
    "IndexLost",
    "License",
    "Summary",
    "Xcp",
    "XcpKilled",
    "exported",
]
