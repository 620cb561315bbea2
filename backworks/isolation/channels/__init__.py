"""The channels to a plugin: the caller's thread, a worker thread, and a worker process through memory or pipes."""
