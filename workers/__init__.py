"""A worker is a process with one engine in it, which dials the frontends and serves them."""
