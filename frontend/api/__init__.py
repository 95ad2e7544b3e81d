"""HTTP clients are answered here: hot endpoints as raw ASGI, everything else as FastAPI routes."""
