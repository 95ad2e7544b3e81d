"""Makes those pages of docs/ that say what the code declares."""
