"""One worker process: its start, its log, its messages and its end, on every system."""
