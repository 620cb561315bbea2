"""What operators observe of running plugins: call counts, health checks and metrics."""
