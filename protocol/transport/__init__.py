"""Carries messages over ZMQ sockets that are bounded, keyed, and watched for strangers."""
