"""The commands of people: files, shares and keys, by the client library and a key alone.

They know no store, no volume and no manager door.
"""
