"""exascaler: DDN EXAScaler and other Lustre, by project quotas.

A quota scope is a directory with a project id. Whether the servers enforce limits is their setting,
off by default, and no client can read it: so the service tries it. Knows no job and no HTTP door.
"""

from backends.systems.lustre.backend import LustreBackend

__all__ = ["LustreBackend"]
