"""Defines what travels between a frontend and a worker, as data, bounds and pure functions.

Two folders do more: `transport/` holds the sockets and the event-loop pump that every plane shares,
and `process/` what both kinds of process need on their host.
"""
