"""purestorage: FlashBlade over REST 1.x and 2.x, mounted by NFS, and its RapidFile Toolkit.

FlashBlade limits file systems, not directories: a quota scope is a directory that nobody limits.
"""
