"""The page docs/sglang_seam.md is printed by `python -m workers.sglang.seam.document`. Imports no
SGLang.
"""

from workers.sglang.seam.checks import CHAPTERS
from workers.sglang.seam.relied import Relied

_HEAD = """# The seam to SGLang

Where kvmesh relies on more of SGLang 0.5.23 than its public API. Each of these is checked when a
worker starts (`workers/sglang/seam/checks.py`), which says what has changed and does not serve.
This page is made from that list by `python -m workers.sglang.seam.document`.
"""


def document() -> str:
    """Returns the page, as Markdown."""
    chapters = [_HEAD]
    for title, relied_on in CHAPTERS.items():
        rows = "\n".join(map(_row, relied_on))
        chapters.append(f"## {title}\n\n| name | used in | why |\n|---|---|---|\n{rows}\n")
    return "\n".join(chapters)


def _row(relied: Relied) -> str:
    module, _, name = relied.name.partition(":")
    return f"| `{name}` of `sglang.{module}` | `{relied.used_in}` | {relied.why} |"


if __name__ == "__main__":
    print(document(), end="")  # noqa: T201
