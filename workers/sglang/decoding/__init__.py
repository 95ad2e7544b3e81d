"""Videos and sounds of prompts are decoded in a process of their own, which may crash or be
killed.
"""
