"""HTTP parts that every door shares: app, problems, JSON, metrics. Knows no volume and no job."""
