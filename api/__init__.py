"""The doors: HTTP in, HTTP out. Know nothing of the workers but the name of their doorbell."""
