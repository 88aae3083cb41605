"""Grades responses: exactly where that decides, else by a symbolic comparison that can be killed.

What compares answers and what judges unit tests runs in servers of its own, which never run a
program of a model: a forked child inherits the memory of its server, and reference answers pass
through these.
"""

import collections
import concurrent.futures
import dataclasses
import threading
import time
from collections.abc import Sequence
from typing import Literal

from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Comparison, Executor
from acim_jax.grading import answers, extraction, spelling
from acim_jax.grading.answers import Grade
from acim_jax.grading.config import GraderConfig
from acim_jax.records import Status

_CACHE_SIZE = 1 << 16

_Question = tuple[str, str]
_Purpose = Literal["compare", "judge"]


class Grader:
    """Judges of answers and of unit tests. Close it, or use it as a context manager.

    limits: the executor's config, of which the judges keep all but the time limits. Servers start
    when they are first needed.
    """

    def __init__(self, config: GraderConfig | None = None, limits: ExecutorConfig | None = None):
        self.config = config or GraderConfig()
        self._limits = dataclasses.replace(
            limits or ExecutorConfig(),
            timeout_s=self.config.timeout_s,
            cpu_seconds=self.config.timeout_s,
        )
        self._lock = threading.Lock()
        self._opened: dict[_Purpose, Executor] = {}
        self._known: collections.OrderedDict[_Question, bool] = collections.OrderedDict()

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def judges(self) -> Executor:
        """Runs the tests of code problems. Nothing that a model wrote may be run in it."""
        return self._executor("judge", self._limits)

    @property
    def _comparer(self) -> Executor:
        return self._executor("compare", dataclasses.replace(self._limits, modules=()))

    def _executor(self, purpose: _Purpose, limits: ExecutorConfig) -> Executor:
        with self._lock:
            if purpose not in self._opened:
                self._opened[purpose] = Executor(limits)
            return self._opened[purpose]

    def close(self) -> None:
        with self._lock:
            for executor in self._opened.values():
                executor.close()

    def grade(self, pairs: Sequence[tuple[str, str]]) -> list[Grade]:
        """Grades (whole response, reference answer) pairs, in order.

        Symbolic comparisons run side by side; equal ones, in this call and in earlier ones, once. A
        comparison that ran out of time is not remembered: the machine may have been busy.
        """
        grades: list[Grade] = []
        waiting: dict[_Question, concurrent.futures.Future[Comparison]] = {}
        questions: dict[int, _Question] = {}
        for index, (prediction, answer) in enumerate(pairs):
            begin = time.perf_counter()
            extracted = extraction.extract_answer(prediction, self.config.unboxed)
            verdict = answers.decide(extracted, answer, self.config)
            if verdict is None:
                question = (spelling.clean(extracted or ""), spelling.clean(answer))
                verdict = ("symbolic", self._known.get(question, False))
                if question in self._known:
                    self._known.move_to_end(question)
                else:
                    questions[index] = question
                    if question not in waiting:
                        waiting[question] = self._comparer.compare(*question)
            method, correct = verdict
            grades.append(Grade(correct, extracted, method, time.perf_counter() - begin))
        for index, question in questions.items():
            comparison = waiting[question].result()
            self._remember(question, comparison)
            grades[index] = _with_comparison(grades[index], comparison)
        return grades

    def _remember(self, question: _Question, comparison: Comparison) -> None:
        if comparison.status is Status.OK:
            self._known[question] = comparison.equal
            if len(self._known) > _CACHE_SIZE:
                self._known.popitem(last=False)


def _with_comparison(first: Grade, comparison: Comparison) -> Grade:
    method = "timeout" if comparison.status is Status.TIMEOUT else "symbolic"
    return dataclasses.replace(
        first,
        correct=comparison.equal,
        method=method,
        wall_s=first.wall_s + comparison.wall_s,
        infra=comparison.status is Status.INFRA,
    )
