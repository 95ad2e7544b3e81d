"""Prefill and decode apart on real engines: are answers the same, does cancelling free both legs,
what is it worth, what befalls streams when a leg dies.
"""
