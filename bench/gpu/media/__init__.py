"""Pictures encoded apart and not, on a GPU or two."""
