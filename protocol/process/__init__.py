"""Readies frontends and workers as processes: settings, log lines, directories and limits."""
