"""Uploads as records in the store. Knows no file system and no HTTP."""
