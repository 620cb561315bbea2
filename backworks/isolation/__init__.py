"""Where a plugin's calls run."""
