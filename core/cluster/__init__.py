"""The nodes of a cluster and what they share about volumes. Knows no storage system."""

from core.cluster.artifact_downloads import ArtifactDownload
from core.cluster.bandwidth import BandwidthStore
from core.cluster.discovery import RENEW_SECONDS, Discovery
from core.cluster.leader import EXPORTER_SECONDS, LEADER_SECONDS, Leadership
from core.cluster.nodes import (
    BEAT_SECONDS,
    NODE_HEADER,
    SECRET_HEADER,
    TREES_PATH,
    Node,
    NodeStore,
    NodeVolume,
    boot_clock,
    load_average,
)
from core.cluster.pauses import PauseNote, PauseNotes
from core.cluster.performance import STATS_KEY, PerformanceStore
from core.cluster.selections import SelectionStore
from core.cluster.series import (
    SERIES_SECONDS,
    SeriesPoint,
    SeriesStore,
    Throughput,
    point_of,
)
from core.cluster.vfolder_cache import VFolderCache
from core.cluster.volume_ids import VolumeIdStore

__all__ = [
    "BEAT_SECONDS",
    "EXPORTER_SECONDS",
    "LEADER_SECONDS",
    "NODE_HEADER",
    "RENEW_SECONDS",
    "SECRET_HEADER",
    "SERIES_SECONDS",
    "STATS_KEY",
    "TREES_PATH",
    "ArtifactDownload",
    "BandwidthStore",
    "Discovery",
    "Leadership",
    "Node",
    "NodeStore",
    "NodeVolume",
    "PauseNote",
    "PauseNotes",
    "PerformanceStore",
    "SelectionStore",
    "SeriesPoint",
    "SeriesStore",
    "Throughput",
    "VFolderCache",
    "VolumeIdStore",
    "boot_clock",
    "load_average",
    "point_of",
]
