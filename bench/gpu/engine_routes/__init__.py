"""What an operator asks of a real engine where a CPU cannot do it: memory that is really freed, and
weights that come as tensors or over a group.
"""
