"""What all tests share: the same examples in every run, and the same surroundings wherever they run."""

import os
import signal

from hypothesis import HealthCheck, settings

# A machine that is busy makes examples slow, and no fault.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")

_ENVIRONMENT = {
    # Output is as in a pipe, whatever the terminal and its encoding, and has none of Python's own warnings.
    "FORCE_COLOR", "PY_COLORS", "CLICOLOR_FORCE", "GITHUB_ACTIONS", "TTY_COMPATIBLE", "TTY_INTERACTIVE",
    "COLUMNS", "LINES", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONDEVMODE", "PYTHONWARNINGS",
    # The service is open unless a test says otherwise.
    "CASCADE_SERVE_TOKEN", "CASCADE_ADMIN_TOKEN",
}  # fmt: skip
_PREFIXES = ("GIT_", "OTEL_")  # a hook's git means another repository, and spans go where a test says
_SUFFIX = "_proxy"  # none reaches what tests serve on this machine

for _name in list(os.environ):
    if _name in _ENVIRONMENT or _name.startswith(_PREFIXES) or _name.lower().endswith(_SUFFIX):
        os.environ.pop(_name)

# A background job of a script ignores SIGINT, one under nohup SIGHUP, and what tests start would inherit that.
for _signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, signal.default_int_handler if _signal == signal.SIGINT else signal.SIG_DFL)
