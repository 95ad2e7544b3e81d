"""Some patterns of stop_regex are stop strings in truth."""


def is_plain(pattern: str) -> bool:
    """Tells whether a pattern matches nothing but itself.

    SGLang cuts its text at such a match, as at a stop string, and at no other.
    """
    return not set(pattern) & set(".^$*+?{}[]\\|()")
