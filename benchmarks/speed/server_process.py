"""A llama-server as a child process on a loopback port: started, waited for, ended."""

from __future__ import annotations

import http.client
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from http import HTTPStatus

from benchmarks.speed.baselines import BaselineError

HOST = "127.0.0.1"
_N_LINES = 5  # of what the server wrote last, in an error message
_POLL_S = 0.1
_END_S = 10.0


def free_port() -> int:
    """A loopback port that nothing listens on at the moment."""
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """A running server that has answered ``/health``.

    Args:
        command: The program with its arguments, ``--host`` and ``--port`` aside.
        start_s: Most seconds until it answers; it loads the model first.

    Raises:
        BaselineError: It cannot be started, ended, or did not answer; has its last lines.
    """

    def __init__(self, command: Sequence[str], start_s: float = 300.0) -> None:
        self.port = free_port()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe would block a server that nobody reads
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                [*command, "--host", HOST, "--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
            )
            self._wait(time.monotonic() + start_s)
        except OSError as error:
            self.close()
            msg = f"{command[0]} cannot be started ({error.strerror}). Give the path of a llama-server."
            raise BaselineError(msg) from error
        except BaseException:
            self.close()
            raise

    def last_lines(self) -> str:
        """What it wrote last."""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()
        return " / ".join(line.strip() for line in lines[-_N_LINES:]) or "nothing"

    def connect(self, timeout_s: float = 600.0) -> http.client.HTTPConnection:
        """A connection of its own, which stays open over many requests."""
        return http.client.HTTPConnection(HOST, self.port, timeout=timeout_s)

    def close(self) -> None:
        """End it, by force if it does not listen; a second call does nothing."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

    def _wait(self, deadline: float) -> None:
        while not self._is_healthy():
            if self._process is not None and self._process.poll() is not None:
                msg = f"llama-server ended with code {self._process.returncode}; it wrote: {self.last_lines()}"
                raise BaselineError(msg)
            if time.monotonic() > deadline:
                msg = f"llama-server did not become ready in time; it wrote: {self.last_lines()}"
                raise BaselineError(msg)
            time.sleep(_POLL_S)

    def _is_healthy(self) -> bool:
        with closing(self.connect(timeout_s=5.0)) as connection:
            try:
                connection.request("GET", "/health")
                return connection.getresponse().status == HTTPStatus.OK
            except (OSError, http.client.HTTPException):
                return False
