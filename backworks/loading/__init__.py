"""Finds, copies, checks and opens libraries. Nothing here starts a plugin."""
