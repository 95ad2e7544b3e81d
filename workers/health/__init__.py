"""A worker finds out whether its engine answers: each rank that is silent is sent a canary request,
and the frontends are told the verdict.
"""
