"""NetApp's XCP."""
