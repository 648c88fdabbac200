"""The verb transfer: copy, helpers, verification, publication."""

from workers.verbs.transfer.helpers import Assist
from workers.verbs.transfer.transfer import Transfer

__all__ = [
    "Assist",
    "Transfer",
]
