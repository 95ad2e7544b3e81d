"""Pictures are made and changed by these endpoints."""
