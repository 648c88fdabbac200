"""vast: VAST Data over the REST interface of its management system (VMS), mounted by NFS.

A quota scope is a directory with a quota on its path, also where it has no limit: that is what
counts it (VAST: VMS REST API, `quotas`).
"""
