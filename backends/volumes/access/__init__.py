"""Access records on the volumes of the cluster: of vfolders, of users and groups. Knows no HTTP.

Modules that need `subjects` or `subject_list` import them by name: they load libraries that most
processes do not need.
"""

from backends.volumes.access.access_records import AccessRecords, KnownVFolder
from backends.volumes.access.cluster_volumes import ClusterVolumes, OnVolume
from backends.volumes.access.job_resources import JobDecisions, resources_of

__all__ = [
    "AccessRecords",
    "ClusterVolumes",
    "JobDecisions",
    "KnownVFolder",
    "OnVolume",
    "resources_of",
    "subject_list",
    "subjects",
]
