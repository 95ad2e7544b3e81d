"""A worker counts what its requests are and take, for Prometheus."""
