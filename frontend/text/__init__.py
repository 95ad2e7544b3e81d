"""Makes tokens of text and text of tokens: chat templates, tokenizing, incremental detokenizing and
stop strings.

No torch, no transformers.
"""
