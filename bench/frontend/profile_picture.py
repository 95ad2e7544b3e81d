"""Draws where the microseconds of a chat go: `python -m bench.frontend.profile_picture FILE`."""

import json
import sys
from pathlib import Path
from typing import Final

from bench.kit.canvas import blank, save

_BAR: Final = 0.8


def draw(result_file: Path) -> Path:
    """Draws a result of bench.frontend.chat_profile: a bar for each part and checkout; returns the
    picture's path.
    """
    result = json.loads(result_file.read_text())
    systems = result["systems"]
    most = {
        part: max(each["parts_us"].get(part, 0.0) for each in systems.values())
        for each in systems.values()
        for part in each["parts_us"]
    }
    parts = sorted(most, key=lambda part: -most[part])
    figure, [[axes]] = blank(1, 1, (9, 1 + 0.3 * len(parts) * (1 + 0.5 * len(systems))))
    height = _BAR / len(systems)
    for number, (name, each) in enumerate(systems.items()):
        values = [each["parts_us"].get(part, 0.0) for part in parts]
        places = [place + number * height for place in range(len(parts))]
        bars = axes.barh(
            places,
            values,
            height * 0.92,
            label=f"{name}: {each['median']['cpu_us']:.0f} us a chat",
        )
        axes.bar_label(bars, fmt="%.0f", padding=2, fontsize=7)
    axes.set_yticks([place + (_BAR - height) / 2 for place in range(len(parts))], parts, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("microseconds of the frontend's CPU a chat", fontsize=8)
    machine = result["machine"]
    axes.set_title(
        (
            "128-token chat, 1 token out, 64 together: where the time goes\n"
            f"{machine['cores']} cores {machine['cpu']}, log level {result['level']}"
        ),
        fontsize=9,
    )
    axes.legend(fontsize=8, loc="lower right")
    return save(figure, result_file.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    for file in sys.argv[1:]:
        print(draw(Path(file)))
