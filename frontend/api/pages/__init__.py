"""Pages that are no hot path are served by FastAPI."""
