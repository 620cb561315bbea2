"""The ways to a plugin: the caller's thread, a pool of threads, and a worker process reached by memory or pipes."""
