"""The fixtures of the clients, and what the suites share."""

from conformance.clients.conftest import client, embedding_model, http, model, url

__all__ = ["client", "embedding_model", "http", "model", "url"]
