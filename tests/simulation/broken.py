"""How a world says that something in it is not as it must be."""


class Broken(AssertionError):
    """An invariant does not hold."""


def hold(condition: object, message: str) -> None:
    """Raise Broken unless it holds."""
    if not condition:
        raise Broken(message)
