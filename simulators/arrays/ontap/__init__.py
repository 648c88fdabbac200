"""ONTAP: a cluster with its jobs, the files of a volume, its query language and its logins."""

from simulators.arrays.ontap.cluster import GRANULE, PASSWORD, USER, OntapSim, options
from simulators.arrays.ontap.jobs import (
    NOT_ACTIVE,
    QUOTA_BUSY,
    RESIZE_FAILED,
    JobFailure,
    Profile,
)

__all__ = [
    "GRANULE",
    "NOT_ACTIVE",
    "PASSWORD",
    "QUOTA_BUSY",
    "RESIZE_FAILED",
    "USER",
    "JobFailure",
    "OntapSim",
    "Profile",
    "options",
]
