"""The arrays: one module or package per vendor, and what several of them share."""
