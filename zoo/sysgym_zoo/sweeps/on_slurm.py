"""Runs as jobs of Slurm, by submitit. Optional: `pip install 'sysgym[slurm]'`.

The table `[slurm]` of the sweep's file holds submitit's parameters, such as `slurm_partition` and `timeout_min`; `jobs`
is how many may be in the queue at once, and `cluster = "local"` runs them as processes of this machine. A job that is
pre-empted goes on from its last checkpoint when the queue starts it again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sysgym.core.errors import MissingDependency, UsageError
from sysgym.resources import cores as cores_here
from sysgym_zoo.sweeps.backends import DIED, Ended, Task

JOBS = 500  # in the queue at once, where the table does not say
LOOK = 0.2  # seconds between looks at the jobs


class Job:
    """What a job carries out, and again after it was pre-empted."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __call__(self) -> Mapping[str, Any]:
        return self.task.function(*self.task.arguments)

    def checkpoint(self) -> Any:
        """The same job again: its run goes on from its last checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Job(self.task))


class OnSlurm:
    """Jobs of a queue."""

    def __init__(self, folder: Path, told: Mapping[str, Any]) -> None:
        try:
            import submitit
        except ImportError as error:
            raise MissingDependency("--backend slurm needs submitit; pip install 'sysgym[slurm]'.") from error
        parameters = dict(told)
        self.local = parameters.pop("cluster", "slurm") == "local"
        self.jobs = parameters.pop("jobs", cores_here() if self.local else JOBS)
        if not isinstance(self.jobs, int) or self.jobs < 1:
            raise UsageError(f"[slurm] jobs must be a whole number from 1, got {self.jobs!r}.")
        if not self.local and shutil.which("sbatch") is None:
            raise UsageError(
                'there is no `sbatch` on this machine; run it where Slurm is, or set cluster = "local" in [slurm].'
            )
        self.parameters = {"timeout_min": 24 * 60, "name": "sysgym", **parameters}
        self.executor: Any = submitit.AutoExecutor(folder=folder, cluster="local" if self.local else "slurm")
        self.running: list[tuple[Task, Any]] = []
        self._told(1)

    def _told(self, threads: int) -> None:
        try:
            self.executor.update_parameters(**self.parameters, cpus_per_task=threads)
        except (TypeError, ValueError, NameError, AssertionError) as error:
            why = (str(error).splitlines() or [""])[0]
            raise UsageError(f"[slurm] is not what submitit takes ({why}); see submitit's AutoExecutor.") from error

    def refuse(self, threads: int) -> None:
        """UsageError for more threads than this machine has, where jobs are its processes; a queue says so itself."""
        if self.local and threads > cores_here():
            raise UsageError(f"a run takes {threads} threads, and there are {cores_here()} core(s); lower threads.")

    def room(self, threads: int) -> bool:
        """Whether another job may be in the queue."""
        return len(self.running) < self.jobs

    def start(self, task: Task) -> None:
        """Put it into the queue."""
        self._told(task.threads)
        self.running.append((task, self.executor.submit(Job(task))))

    def ended(self, seconds: float) -> list[Ended]:
        """What ended by now, or within some seconds."""
        until = time.monotonic() + seconds
        while True:
            over = [(task, job) for task, job in self.running if job.done()]
            if over or time.monotonic() >= until:
                break
            time.sleep(LOOK)
        self.running = [pair for pair in self.running if pair not in over]
        return [Ended(task.id, self._outcome(job)) for task, job in over]

    @staticmethod
    def _outcome(job: Any) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = job.result()
        except Exception as error:  # whatever submitit raises for a job that left no result
            return {"status": DIED, "error": f"job {job.job_id} left no result ({type(error).__name__})."}
        return found

    def interrupt(self) -> None:
        """Take the jobs out of the queue; a training keeps its last checkpoint."""
        for _, job in self.running:
            job.cancel(check=False)

    def close(self) -> None:
        """Jobs that are left are taken out of the queue."""
        self.interrupt()
