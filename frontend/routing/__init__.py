"""Decides which rank gets a request. Pure: no sockets, no clock, no global randomness."""
