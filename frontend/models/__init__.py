"""Makes models servable from the files that their workers name."""
