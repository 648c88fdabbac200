"""The hands: node-local processes that run jobs. Know nothing of the HTTP doors."""
