"""hammerspace: Hammerspace over the REST interface of its Anvil, mounted by NFS.

A quota scope is a share inside the share that is mounted; its size limit is the limit of the scope
(Hammerspace: REST API v1.2, `shares`). `hammerspace-base` is the same mount without the interface.
Knows no job and no HTTP door.
"""
