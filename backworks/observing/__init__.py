"""What an operator sees of running plugins: counts of calls, health checks and metrics."""
