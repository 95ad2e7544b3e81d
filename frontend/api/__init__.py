"""What HTTP clients see: the OpenAI endpoints as raw ASGI, everything else as FastAPI routes."""
