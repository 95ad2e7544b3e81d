"""Shows operators what a frontend does, as Prometheus metrics."""
