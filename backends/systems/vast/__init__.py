"""vast: VAST Data over the REST interface of its management system (VMS), mounted by NFS.

A quota scope is a directory with a quota on its path. It has one also without a limit: the quota
counts the usage (VAST: VMS REST API, `quotas`). Knows no job and no HTTP door.
"""
