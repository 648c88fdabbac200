"""The commands of Storage Scale."""
