"""SGLang is embedded by this folder alone: no other imports it, torch or transformers."""
