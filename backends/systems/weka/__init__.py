"""weka: WEKA over its REST interface v2, mounted by its own client (WEKA: REST API, quota).

A quota scope is a directory at the top of the file system with a directory quota. It has one also
without a limit: the quota counts the usage. Quotas belong to inodes, so a scope's name is resolved
first. Knows no job and no HTTP door.
"""
