"""dellemc-onefs: Dell PowerScale over OneFS's REST interface, mounted by NFS.

A quota scope is a directory with a SmartQuotas directory quota. It has one also without a limit:
an accounting quota counts the usage (Dell: OneFS API reference). Knows no job and no HTTP door.
"""
