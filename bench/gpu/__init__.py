"""Measures kvmesh beside SGLang's server, its gateway and Dynamo on real GPUs, on a host without a
package index (see bench/README.md).
"""
