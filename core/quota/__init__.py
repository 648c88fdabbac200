"""What quota scopes hold and may hold, as the store has it. Knows no file system."""
