"""Runs the subcommands of `kvmesh`: `up`, `chat`, `doctor`, `bench` and `top`."""

import argparse
import shlex
import sys
from collections.abc import Sequence

from frontend.cli import chat, picture, up, up_options
from frontend.cli.bench import options as bench_options
from frontend.cli.doctor import options as doctor_options
from frontend.cli.top import options as top_options
from protocol.process.packaging import VERSION


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # What follows "--" belongs to the workers and their engines, whatever it looks like.
    own, engine_argv = (
        (arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :])
        if "--" in arguments
        else (arguments, [])
    )
    parser = argparse.ArgumentParser(
        prog="kvmesh", description="OpenAI-compatible serving for a fleet of SGLang engines."
    )
    parser.add_argument("--version", action="version", version=f"kvmesh {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True)
    up_options.add_arguments(
        commands.add_parser(
            "up", help="serve a model on this host: a frontend and workers together"
        )
    )
    chatting = commands.add_parser(
        "chat", help="talk to a running frontend, or have it draw a picture"
    )
    chat.add_arguments(chatting)
    picture.add_arguments(chatting)
    doctor_options.add_arguments(
        commands.add_parser("doctor", help="look at this host and say what to mend")
    )
    benching = commands.add_parser("bench", help="put a load on a server and tell how fast it is")
    bench_options.add_arguments(benching)
    top_options.add_arguments(
        commands.add_parser("top", help="show what a running mesh does, until q")
    )
    options, unknown = parser.parse_known_args(own)
    if unknown:
        engines = (
            f"; what is for the engines goes behind --: kvmesh up -- {shlex.join(unknown)}"
            if options.command == "up"
            else ""
        )
        parser.error(f"unknown arguments: {' '.join(unknown)}{engines}")
    if options.command == "up":
        return up.run(options, engine_argv)
    if options.command == "chat":
        picture.check(options, chatting)
        return chat.run(options) if options.image is None else picture.run(options)
    if options.command == "bench":
        bench_options.check(options, benching)
    return _operate(options)


def _operate(options: argparse.Namespace) -> int:
    """Runs what is for who operates a mesh, importing what that one alone needs."""
    if options.command == "doctor":
        from frontend.cli.doctor import command  # noqa: PLC0415

        return command.run(options)
    if options.command == "bench":
        from frontend.cli.bench import command  # noqa: PLC0415

        return command.run(options)
    from frontend.cli.top import command  # noqa: PLC0415

    return command.run(options)
