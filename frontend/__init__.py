"""Serves OpenAI's, Anthropic's and others' clients over HTTP from the workers of a mesh."""
