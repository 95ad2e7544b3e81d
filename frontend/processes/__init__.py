"""Several frontend processes of one host serve behind one HTTP port, under a parent."""
