"""Work on each of many subjects, shared out to processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from typing import Any, Literal, TypeVar

Given = TypeVar("Given")
Found = TypeVar("Found")

_begun: tuple[Callable[[Any, int], Any], Any] | None = None


_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

# What takes seconds to import, and every process needs.
_PRELOADED = ["medstyle_gan.evaluation.chapters", "medstyle_gan.inference"]


def process_context() -> BaseContext:
    """How processes begin: forked from a server that has imported everything and done nothing.

    Forked from this process itself, torch's threads may hang; begun anew, each would import for
    ten seconds, in every chapter. So they are where the system cannot fork.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def shared_out(
    work: Callable[[Given, int], Found],
    given: Given,
    count: int,
    workers: int = 1,
    start: Literal["fork"] | None = None,
) -> Iterator[Found]:
    """What is found in each subject, in their order.

    Args:
        work: a function of a module, of what is given and a subject's index.
        given: what all subjects share; with several workers it is pickled, once.
        count: subjects.
        workers: processes; each has its share of the cores.
        start: how processes begin; None as `process_context` says.
    """
    workers = min(workers, count)
    if workers < 2:
        yield from (work(given, index) for index in range(count))
        return
    threads = threads_each(workers)
    context = process_context() if start is None else multiprocessing.get_context(start)
    pickled = pickle.dumps((work, given))
    with ProcessPoolExecutor(workers, context, _begin, (pickled, threads)) as pool:
        with libraries_held_to(threads):
            results = pool.map(_work_on, range(count))  # processes, or their server, begin here
        for found in results:
            yield pickle.loads(found)


def threads_each(workers: int) -> int:
    """Each worker's share of the cores, at least one."""
    return max(1, (os.cpu_count() or 1) // workers)


@contextmanager
def libraries_held_to(threads: int) -> Iterator[None]:
    """Processes that begin here have so many threads in each library.

    Each library looks once, as it is loaded. NumPy's would take all cores in every worker: two
    workers took twice as long as one.
    """
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin(pickled: bytes, threads: int) -> None:
    global _begun
    import torch

    torch.set_num_threads(threads)
    _begun = pickle.loads(pickled)


def _work_on(index: int) -> bytes:
    assert _begun is not None
    work, given = _begun
    # Pickled here, as torch would else send tensors by open files, of which there may be too many.
    return pickle.dumps(work(given, index))
