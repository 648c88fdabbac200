"""Registries of models: hubs, and managers of other sites. Knows no job and no storage."""

from backends.systems.registries.hub import (
    DEFAULT_REVISION,
    ORDERS,
    Hub,
    HubFile,
    HubModel,
)
from backends.systems.registries.reservoir import Reservoir
from backends.systems.registries.session import RemoteFile, RemoteSession
from backends.systems.registries.verification import VerificationResult, VerifierResult

__all__ = [
    "DEFAULT_REVISION",
    "ORDERS",
    "Hub",
    "HubFile",
    "HubModel",
    "RemoteFile",
    "RemoteSession",
    "Reservoir",
    "VerificationResult",
    "VerifierResult",
]
