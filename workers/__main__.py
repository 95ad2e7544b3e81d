"""`python -m workers` runs one engine, which serves every frontend that it is told of."""

from workers.app import run
from workers.process.exit import leave_process

if __name__ == "__main__":
    leave_process(run())
