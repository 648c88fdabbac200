"""The storage systems, a room each. None knows another one, a job or an HTTP door."""
