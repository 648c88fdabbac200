"""The verb transfer: copy, helpers, verification, publication."""
