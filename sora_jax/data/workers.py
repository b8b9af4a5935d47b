"""Batches and clips made by worker processes, of which any may die."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import logging
import multiprocessing
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import grain

from sora_jax.data.manifest import readable
from sora_jax.types import Clip, Source

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


CLIPS = 16  # that a worker makes at once
_Clips = concurrent.futures.Future[list[Clip]]


class ClipReader:
    """Reads runs of a source's clips in worker processes, ahead of whoever asks for one run after the other.

    Clips come without their states, which are not sent between processes.
    """

    def __init__(self, source: Source, *, run: int, workers: int, every: int = 1) -> None:
        """Runs begin at multiples of `run`, and every `every`-th of them is read; `workers` 0 reads in this
        process, when asked."""
        self._source, self._run, self._workers, self._every = source, run, workers, every
        self._pool = self._new_pool() if workers else None
        self._waiting: collections.deque[tuple[int, _Clips]] = collections.deque()  # by their first clip
        self._next = 0  # the first clip that no worker was asked for

    def read(self, start: int, stop: int) -> list[Clip]:
        """The clips [start, stop) that can be read.

        Raises:
          BrokenProcessPool: a worker died.
        """
        if self._pool is None:
            return [clip for _, clip in readable(self._source, range(start, stop))]
        if not self._waiting or self._waiting[0][0] != start:
            self.begin(start)
        clips: list[Clip] = []
        while True:
            self._ask(self._pool)
            if not self._waiting or self._waiting[0][0] >= stop:
                return clips
            clips += self._waiting.popleft()[1].result()

    def begin(self, start: int) -> None:
        """Lets the workers begin with the clip `start`, before anyone waits for it."""
        self._waiting.clear()
        self._next = start
        if self._pool is not None:
            self._ask(self._pool)

    def _ask(self, pool: concurrent.futures.ProcessPoolExecutor) -> None:
        while len(self._waiting) < 6 * self._workers and self._next < len(self._source):
            border = min((self._next // self._run + 1) * self._run, len(self._source))
            end = min(self._next + CLIPS, border)
            self._waiting.append((self._next, pool.submit(_clips, self._next, end)))
            self._next = end if end < border else border + (self._every - 1) * self._run

    def close(self) -> None:
        """Ends the workers."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _new_pool(self) -> concurrent.futures.ProcessPoolExecutor:
        return concurrent.futures.ProcessPoolExecutor(
            self._workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_set_source,
            initargs=(self._source,),
        )


_source_in_worker: dict[str, Source] = {}


def _set_source(source: Source) -> None:
    _source_in_worker["source"] = source


def _clips(start: int, stop: int) -> list[Clip]:
    read = readable(_source_in_worker["source"], range(start, stop))
    return [dataclasses.replace(clip, state=None, state_3d=None) for _, clip in read]
