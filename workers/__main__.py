"""`python -m workers`: one engine, serving every frontend it is told of."""

from workers.app import run
from workers.process.exit import leave_process

if __name__ == "__main__":
    leave_process(run())
