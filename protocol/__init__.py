"""What travels between a frontend and a worker.

Everything here is data, bounds and pure functions, with one exception: `sockets.py` holds the
socket options and the event-loop pump that every plane shares.
"""
