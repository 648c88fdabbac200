"""The nodes of a cluster and what they share about volumes. Knows no storage system."""

from core.cluster.bandwidth import BandwidthBook
from core.cluster.calls import Call, Calls
from core.cluster.discovery import RENEW_SECONDS, Discovery
from core.cluster.nodes import BEAT_SECONDS, Node, NodeBook, NodeVolume, boot_clock, load_average
from core.cluster.performance import KEY, SpeedBook, now
from core.cluster.vfolder_cache import VFolderCache

__all__ = [
    "BEAT_SECONDS",
    "KEY",
    "RENEW_SECONDS",
    "BandwidthBook",
    "Call",
    "Calls",
    "Discovery",
    "Node",
    "NodeBook",
    "NodeVolume",
    "SpeedBook",
    "VFolderCache",
    "boot_clock",
    "load_average",
    "now",
]
