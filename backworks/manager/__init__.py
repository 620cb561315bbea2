"""Manages several plugins together: starts them from a configuration, replaces them, and shuts them down."""

from backworks.manager.manager import PluginManager

__all__ = ["PluginManager"]
