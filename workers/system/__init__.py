"""What a worker tells of itself over HTTP: probes, state and metrics, from a thread that answers
when the worker's loop does not.
"""
