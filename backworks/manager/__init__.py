"""Many plugins, one life: starting them from a configuration, replacing them, and shutting them down."""

from backworks.manager.manager import PluginManager

__all__ = ["PluginManager"]
