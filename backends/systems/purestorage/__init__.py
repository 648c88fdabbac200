"""purestorage: FlashBlade over REST 1.x and 2.x, mounted by NFS, and its RapidFile Toolkit.

FlashBlade limits file systems, not directories: a quota scope is a directory without a limit of the
array. Knows no job and no HTTP door.
"""
