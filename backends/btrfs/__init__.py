"""The btrfs backend: subvolumes, quota groups, snapshots. Knows no job and no HTTP."""
