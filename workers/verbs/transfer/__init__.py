"""The verb transfer, and the steps it shares with clone: copy, helpers, verification, publication.

Knows no other verb.
"""

from workers.verbs.transfer import publish, verify
from workers.verbs.transfer.facts import amounts_of, items_of, receipt_document
from workers.verbs.transfer.helpers import Assist, clone_as_transfer, clone_staging
from workers.verbs.transfer.transfer import COUNTED, FETCHED_TREE, Transfer

__all__ = [
    "COUNTED",
    "FETCHED_TREE",
    "Assist",
    "Transfer",
    "amounts_of",
    "clone_as_transfer",
    "clone_staging",
    "items_of",
    "publish",
    "receipt_document",
    "verify",
]
