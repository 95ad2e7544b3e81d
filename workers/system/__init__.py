"""A worker tells of itself over HTTP by probes, state and metrics, from a thread that answers when
the worker's loop does not.
"""
