"""What all tests share: the same examples in every run, and the same surroundings wherever they run."""

import os
import signal

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("repeatable")

# Output is as in a pipe, whatever the terminal.
for _name in ("FORCE_COLOR", "PY_COLORS", "CLICOLOR_FORCE", "GITHUB_ACTIONS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(_name, None)

# What tests serve is on this machine, where no proxy reaches it, and is open unless a test says otherwise.
for _name in [name for name in os.environ if name.lower().endswith("_proxy") or name == "CASCADE_SERVE_TOKEN"]:
    os.environ.pop(_name)

# A git hook tells git where its repository is, and tests make their own.
for _name in [name for name in os.environ if name.startswith("GIT_")]:
    os.environ.pop(_name)

# A background job of a script ignores SIGINT, one under nohup SIGHUP, and what tests start would inherit that.
for _signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, signal.default_int_handler if _signal == signal.SIGINT else signal.SIG_DFL)
