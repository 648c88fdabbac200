"""Who may do what: signed tickets. Knows no job, no volume and no HTTP."""
