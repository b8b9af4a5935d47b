"""Batches made by worker processes, of which any may die."""

from __future__ import annotations

import collections
import concurrent.futures
import logging
import multiprocessing
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import grain

MOST_DEATHS = 3  # of workers in a row, before one batch is given up

_log = logging.getLogger(__name__)


def elements(dataset: grain.MapDataset, start_step: int, *, workers: int, ahead: int) -> Iterator[Any]:
    """The elements from `start_step` on, made by worker processes; those of one that died are made again.

    Differs: from grain's `mp_prefetch`, which leaves shared memory behind when a run ends (0.2.18).

    Raises:
      RuntimeError: `MOST_DEATHS` workers in a row died at the same step.
    """

    def new_pool() -> concurrent.futures.ProcessPoolExecutor:
        return concurrent.futures.ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_set_dataset,
            initargs=(dataset,),
        )

    pool = new_pool()
    deaths = 0
    waiting: collections.deque[concurrent.futures.Future[Any]] = collections.deque()
    step = start_step
    try:
        while True:
            try:
                while len(waiting) <= ahead:
                    waiting.append(pool.submit(_element, step + len(waiting)))
                element = waiting[0].result()
            except BrokenProcessPool as error:
                deaths += 1
                if deaths == MOST_DEATHS:
                    raise RuntimeError(
                        f"{deaths} data workers in a row died while batch {step} was made: is memory short? "
                        f"Use fewer than {workers} data.workers, or 0 to see the error itself"
                    ) from error
                _log.warning("a data worker died; its batches, from %d on, are made again", step)
                pool.shutdown(wait=False, cancel_futures=True)
                pool = new_pool()
                waiting.clear()
                continue
            waiting.popleft()
            deaths = 0
            step += 1
            yield element
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


_in_worker: dict[str, grain.MapDataset] = {}  # what a worker process makes its batches from


def _set_dataset(dataset: grain.MapDataset) -> None:
    _in_worker["dataset"] = dataset


def _element(index: int) -> Any:
    return _in_worker["dataset"][index]
