"""Worker processes on every system: how they are started, supervised, spoken to and ended."""
