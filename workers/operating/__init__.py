"""An operator pauses a worker's engine, gives it other weights, or looks into it, while it runs."""
