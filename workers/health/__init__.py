"""Whether the engine answers: a canary request for each rank that is silent, and a verdict for the
frontends.
"""
