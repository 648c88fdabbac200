"""What a node does beside its jobs: mounts, sweeps, upkeep, events. Knows no verb."""
