"""Numbers, times and names as a picture in a terminal has them."""

from typing import Final

STATE_STYLES: Final = {
    "ready": "green",
    "loading": "cyan",
    "joining": "cyan",
    "draining": "yellow",
    "unhealthy": "bold red",
}
"""Maps a worker's state to its colour; others are yellow."""

VERDICT_STYLES: Final = {
    "healthy": "bold green",
    "degraded": "bold yellow",
    "unhealthy": "bold red",
}


def plain(text: str) -> str:
    """Returns a text that moves no cursor, whatever name or reason of others it is."""
    return "".join(each if each.isprintable() else "?" for each in text)


def count(value: float | None) -> str:
    """Returns a number in a few characters."""
    if value is None:
        return "-"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):.1f}{unit}"
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}"


def percent(share: float | None) -> str:
    """Returns a share as a percentage."""
    return "-" if share is None else f"{share:.0%}"


def span(seconds: float) -> str:
    """Returns a time in its two greatest units."""
    whole = int(max(0.0, seconds))
    for unit, size, smaller, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {smaller}"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"
