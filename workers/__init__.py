"""Node-local worker processes that run jobs. They know nothing of the HTTP doors."""
