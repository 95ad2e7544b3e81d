"""What clients written for OpenAI expect, tried on real SGLang: `make conformance`."""
