"""The arrays: one module per vendor, and the lists of its fields where they are long."""
