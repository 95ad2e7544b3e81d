"""What is looked at follows from the settings that a frontend and workers would have here."""

import argparse
import contextlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from frontend.cli.addresses import http_url
from frontend.cli.doctor.finding import Finding, fail
from frontend.cli.doctor.options import FRONTEND_FLAGS
from frontend.settings import FrontendSettings
from protocol.process.settings import parse_settings
from protocol.process.start_error import StartError


@dataclass(frozen=True)
class Subject:
    """A Subject is what the doctor looks at.

    Attributes:
        settings: of a frontend that would be started here.
        dialled: mesh addresses that workers here would dial.
        url: where a running frontend is asked, without a path.
        url_given: somebody named it, so one has to answer there.
    """

    settings: FrontendSettings
    dialled: tuple[str, ...] = ()
    url: str = "http://127.0.0.1:8000"
    url_given: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


def subject_of(options: argparse.Namespace, environ: Mapping[str, str]) -> tuple[Subject, Finding]:
    """Returns what to look at, and what there is to say of the settings themselves; where these
    cannot be used, the defaults are looked at.
    """
    argv = [
        item
        for flag in FRONTEND_FLAGS
        if (value := getattr(options, flag.removeprefix("--").replace("-", "_"))) is not None
        for item in (flag, value)
    ]
    found = Finding("ok", "settings", "flags, environment and file can be read")
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            settings = parse_settings(FrontendSettings, argv, prog="kvmesh doctor")
    except (StartError, SystemExit) as error:
        why = str(error) if isinstance(error, StartError) else _last_line(complaint.getvalue())
        found = fail("settings", why, "Correct that flag, variable or line of the file.")
        settings = FrontendSettings()
    url = options.url or http_url(settings.http_host, settings.http_port)
    dialled = options.frontend or _listed(environ.get("KVMESH_FRONTEND", ""))
    return Subject(settings, tuple(dialled), _base(url), bool(options.url), environ), found


def _base(url: str) -> str:
    """Returns a URL without its path, and without the name and password that it may have."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "", "", ""))


def _listed(text: str) -> list[str]:
    """Returns what a variable lists, in the form that workers read: one, or [one, another]."""
    return [item.strip() for item in text.strip("[] ").split(",") if item.strip()]


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].partition("error: ")[2] or lines[-1] if lines else "they cannot be read"
