"""Workers that compute each call together, so that none can go on without the others."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent import futures
from typing import Any

from esr_cli.execution.restarting import DiedError, RestartingWorker, WorkerError
from esr_cli.execution.several import Workers

# Seconds between two looks at the calls, and those that the others get to show why one failed.
LOOK_S, REASON_S = 0.5, 3.0


class TeamError(DiedError):
    """A worker of the team died, and the others have been ended."""


class Team(Workers):
    """Workers that all get the same calls; the first one's results are the team's.

    If one dies or raises, the others would wait for it, so all are ended.
    """

    def __init__(self, workers: Sequence[RestartingWorker]) -> None:
        super().__init__(workers)
        self.members = list(workers)

    def all(self, method: str, *arguments: Any) -> Any:
        """Calls the method of every worker with the same arguments; returns the first's result."""
        return self.every(method, *arguments)[0]

    def each(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> Any:
        """Calls the method of every worker with its own arguments; returns the first's result.

        Raises `TeamError` if a worker died, `WorkerError` if one raised.
        """
        return self._all_results(method, arguments)[0]

    def every(self, method: str, *arguments: Any) -> list[Any]:
        """The result of each worker for the method with the same arguments."""
        return self._all_results(method, [arguments] * len(self.members))

    def _all_results(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        try:
            for worker, own in zip(self.members, arguments, strict=True):
                worker.begin(method, *own)
            return self._results()
        except WorkerError:
            Workers.close(self)
            raise

    def _results(self) -> list[Any]:
        with futures.ThreadPoolExecutor(len(self.members)) as pool:
            waits = [pool.submit(worker.finish) for worker in self.members]
            try:
                while futures.wait(waits, LOOK_S, futures.FIRST_EXCEPTION).not_done:
                    if any(each.done() and each.exception() for each in waits):
                        # A death shows in the others as a broken connection.
                        futures.wait(waits, REASON_S)
                        break
                errors = [e for each in waits if each.done() and (e := each.exception())]
                if not errors:
                    return [each.result() for each in waits]
                self._end_busy(waits)
            except BaseException:
                self._end_busy(waits)
                raise
        died = [each for each in errors if isinstance(each, DiedError)]
        if died:
            raise TeamError(str(died[0])) from died[0]
        raise errors[0]

    def _end_busy(self, waits: Sequence[futures.Future[Any]]) -> None:
        """Kills the workers that still compute, which ends the threads that wait for them."""
        for worker, wait in zip(self.members, waits, strict=True):
            if not wait.done():
                worker.kill()
