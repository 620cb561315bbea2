"""The checks, one module for each group; importing a module adds its checks to the ``catalogue``."""
