"""From the engines' KV-cache events to the knowledge that routing needs."""
