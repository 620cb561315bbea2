"""The HTTP server: an ASGI application for a configuration, and :mod:`backworks.http.server`, which runs it."""

from __future__ import annotations

from backworks.http.app import HttpApp, create_app

__all__ = ["HttpApp", "create_app"]
