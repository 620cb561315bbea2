"""What keeps a plugin from hurting its host: circuit breaker, bounds, health checks, and the numbers of it all."""
