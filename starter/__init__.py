"""Processes of this host that tests, benchmarks and conformance suites start, await and end."""
