"""Commands for which file permissions count, even where root runs the tests."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

_DROPPED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


def without_rights(*command: str) -> list[str]:
    """The command as it has to be run; skips the test where root cannot give up its rights."""
    if os.geteuid():
        return list(command)
    if (
        shutil.which("setpriv") is None
        or subprocess.run([*_DROPPED, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("root cannot give up its rights here")
    return [*_DROPPED, *command]
