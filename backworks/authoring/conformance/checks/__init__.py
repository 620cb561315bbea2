"""The checks, one module for each group; importing a module puts its checks on the list of ``catalogue``."""
