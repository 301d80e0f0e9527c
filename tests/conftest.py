"""What all tests share: the same examples in every run, and the same surroundings wherever they run."""

import os
import signal

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("repeatable")

# Output is as in a pipe, whatever the terminal and its encoding.
_TERMINAL = {
    "FORCE_COLOR", "PY_COLORS", "CLICOLOR_FORCE", "GITHUB_ACTIONS", "TTY_COMPATIBLE", "TTY_INTERACTIVE",
    "COLUMNS", "LINES", "PYTHONUTF8", "PYTHONIOENCODING",
}  # fmt: skip

# The service is open unless a test says otherwise.
_SERVICE = {"CASCADE_SERVE_TOKEN"}

# No proxy reaches what tests serve on this machine, and the git that calls a hook means another repository than theirs.
for _name in list(os.environ):
    if _name in _TERMINAL | _SERVICE or _name.lower().endswith("_proxy") or _name.startswith("GIT_"):
        os.environ.pop(_name)

# A background job of a script ignores SIGINT, one under nohup SIGHUP, and what tests start would inherit that.
for _signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, signal.default_int_handler if _signal == signal.SIGINT else signal.SIG_DFL)
