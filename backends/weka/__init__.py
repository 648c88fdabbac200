"""weka: WEKA over its REST interface v2, mounted by its own client (WEKA: REST API, quota).

A quota scope is a directory at the top of the file system with a directory quota, also where it has
no limit: that is what counts it. Quotas belong to inodes, so a scope's name is resolved first.
"""
