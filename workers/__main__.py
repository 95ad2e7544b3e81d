"""`python -m workers`: one engine, serving every frontend it is told of."""

from workers.run import run

if __name__ == "__main__":
    raise SystemExit(run())
