"""Logs and metrics of every process. Knows no setting, no job and no Redis."""
