"""`python -m bench.peers.install dynamo|gateway`: makes .venv-dynamo or .venv-gateway from the
index that pip is set to use.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from starter.process import REPO

FOLDER = Path(__file__).resolve().parent
NO_DEPS = ("ai-dynamo==", "ai-dynamo-runtime==")
"""Their pins name CUDA builds, SGLang and a Kubernetes client, which neither the frontend nor the
mocker needs.
"""


def python_of(peer: str) -> Path:
    """Interpreter of the peer's environment, installed or not."""
    return REPO / f".venv-{peer}" / "bin" / "python"


def ensure(peer: str) -> Path:
    """The peer's interpreter; its environment is made at first use.

    Raises subprocess.CalledProcessError where pip fails.
    """
    python = python_of(peer)
    marker = python.parent.parent / "bench-installed"
    wanted = (FOLDER / f"{peer}.txt").read_text()
    if marker.exists() and marker.read_text() == wanted:
        return python
    print(f"installing {peer} into {python.parent.parent}", flush=True)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
    lines = [line for line in wanted.splitlines() if line and not line.startswith("#")]
    for extra, chosen in (
        ([], [line for line in lines if not line.startswith(NO_DEPS)]),
        (["--no-deps"], lines),
    ):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
            requirements.write("\n".join(chosen))
            requirements.flush()
            subprocess.run(
                [python, "-m", "pip", "install", "--quiet", *extra, "-r", requirements.name],
                check=True,
            )
    marker.write_text(wanted)
    return python


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(ensure(name))
