"""Run a batch on a Ray cluster: each job is a task, and each process of the cluster loads the model once.

Ray runs the tasks of a machine that dies again on the others. The machines need this package, the model, and the inputs
and outputs: in a folder that all of them see, or at URLs.
"""

import itertools
import logging
import socket
from collections.abc import Iterator
from typing import Any

from audiodiff.cli.jobs import Job
from audiodiff.cli.worker import Result, Run, do_job
from audiodiff.utils.extras import requires_extra
from audiodiff.utils.signals import Stopped, handlers_kept

CONNECT_SECONDS = 5
RETRIES = 3  # of a task whose process or machine dies
QUEUED = 2  # tasks for each CPU or GPU, so that none waits for the next


def cluster_results(run: Run, jobs: list[Job], address: str) -> Iterator[Result]:
    """Yield the result of each job, in the order in which they end.

    Args:
        run: What the workers need.
        jobs: All of them.
        address: Of the cluster, HOST:PORT; or auto, for the one that this machine belongs to.

    Raises:
        ValueError: Ray is not installed, there is no cluster, or a job ends the run.
    """
    requires_extra("ray", "ray", purpose="--ray")
    import ray

    _connect(address)
    running: dict[ray.ObjectRef, Job] = {}
    try:
        kind = "GPU" if run.options.device != "cpu" and ray.cluster_resources().get("GPU") else "CPU"
        task = ray.remote(do_job).options(**{f"num_{kind.lower()}s": 1}, max_retries=RETRIES)
        waiting, shared = iter(jobs), ray.put(run)
        while True:
            room = max(1, QUEUED * int(ray.cluster_resources().get(kind, 1))) - len(running)
            running |= {task.remote(shared, job): job for job in itertools.islice(waiting, room)}
            if not running:
                return
            done, _ = ray.wait(list(running))
            yield from (_result(ref, running.pop(ref)) for ref in done)
    except Stopped:
        for ref in running:
            ray.cancel(ref)  # raises KeyboardInterrupt in the task, which removes its temporary files
        ray.wait(list(running), num_returns=len(running), timeout=CONNECT_SECONDS)
        raise
    finally:
        ray.shutdown()


def _result(ref: Any, job: Job) -> Result:
    import ray

    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ValueError):
            raise ValueError(str(error.cause)) from None
        raise
    except ray.exceptions.RayError as error:
        lost = "ran out of memory" if isinstance(error, ray.exceptions.OutOfMemoryError) else "died"
        message = f"{job.input}: the worker {lost}, {RETRIES + 1} times"
        return {"input": str(job.input), "output": str(job.output), "error": message}


def _connect(address: str) -> None:
    import ray

    _check_reachable(address)
    try:
        with handlers_kept():  # Ray's own ends the process at once
            ray.init(address=address, logging_level=logging.ERROR, configure_logging=False)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"--ray {address}: {reason}; start a cluster with `ray start --head`, add machines with `ray start "
            "--address HEAD:6379`, and give HEAD:6379"
        ) from None


def _check_reachable(address: str) -> None:
    """Fail fast where nobody listens: Ray itself tries for a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or error
        remedy = "start a cluster with `ray start --head`"
        raise ValueError(f"--ray {address}: nobody answers there ({reason}); {remedy}") from None
