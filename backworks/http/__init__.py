"""The HTTP side: an ASGI application made from a configuration; :mod:`backworks.http.server` runs it under uvicorn."""

from __future__ import annotations

from backworks.http.app import HttpApp, create_app

__all__ = ["HttpApp", "create_app"]
