"""The doors: one room of routes for each, and what each door answers."""
