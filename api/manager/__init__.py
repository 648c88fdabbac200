"""The manager door: the wire the manager service speaks, and the job API."""
