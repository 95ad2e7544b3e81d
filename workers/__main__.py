"""`python -m workers`: one engine, serving every frontend it is told of.

SGLang's schedulers are spawned, and a spawned child runs this file's top level again as `__mp_main__`: only what they need
belongs there.
"""

from workers.sglang_cpu import activate_if_cpu_host

activate_if_cpu_host()


def main() -> int:
    """Run a worker until it is told to stop; the exit code is 3 when it cannot start."""
    from workers.run import run  # noqa: PLC0415 - spawned children must not pay for it

    return run()


if __name__ == "__main__":
    raise SystemExit(main())
