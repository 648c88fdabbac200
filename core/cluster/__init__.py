"""The nodes of a cluster and what they share about volumes. Knows no storage system."""
