"""Tries on real SGLang what clients written for OpenAI expect: `make conformance`."""
