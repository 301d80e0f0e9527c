"""A thread that does what it is given, in order."""

from __future__ import annotations

import threading

import pytest

from cascade.backends.worker import Worker
from cascade.errors import ClosedError


def test_a_worker_does_all_it_was_given_in_order_and_ends() -> None:
    """What was handed over before it closes is done; afterwards it takes nothing, and its thread is gone."""
    seen: list[int] = []
    worker = Worker("test", lambda: None)
    jobs = [worker.submit(seen.append, at) for at in range(100)]
    worker.close()
    worker.close()
    worker.join(30)
    assert all(job.done() for job in jobs)
    assert seen == list(range(100))
    assert "test" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(ClosedError, match="open a new engine"):
        worker.submit(seen.append, 0)


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_whatever_a_job_raises_goes_to_who_waits_for_it(error: type[BaseException]) -> None:
    """The thread goes on with what comes next."""

    def fail() -> None:
        raise error

    worker = Worker("test", lambda: None)
    assert isinstance(worker.submit(fail).exception(30), error)
    assert worker.submit(lambda: worker.is_own_thread).result(30)
    assert not worker.is_own_thread
    worker.close()


def test_a_job_that_was_cancelled_is_not_done() -> None:
    """A job may be taken back until its turn comes."""
    gate = threading.Event()
    worker = Worker("test", gate.set)
    worker.submit(gate.wait, 30)
    seen: list[int] = []
    job = worker.submit(seen.append, 1)
    assert job.cancel()
    worker.close()
    worker.end()
    assert not seen
