"""`python -m workers` runs one engine, which serves every frontend that it is told of."""

from protocol.process.standard_files import open_standard_files
from workers.app import run
from workers.process.exit import leave_process

if __name__ == "__main__":
    open_standard_files()
    leave_process(run())
