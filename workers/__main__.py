"""`python -m workers`: one engine, serving every frontend it is told of."""

from workers.process_exit import leave_process
from workers.run import run

if __name__ == "__main__":
    leave_process(run())
