"""Grades responses: exactly where that decides, else by a symbolic comparison that can be killed.

The executor that compares never runs a program of a model: a forked child inherits the memory of
its server, and reference answers pass through this one. The judges of unit tests share it.
"""

import collections
import concurrent.futures
import dataclasses
import threading
import time
from collections.abc import Sequence

from acim_jax.environment import answers, extraction, spelling
from acim_jax.environment.answers import Grade, GraderConfig
from acim_jax.environment.executor import Comparison, Executor, ExecutorConfig
from acim_jax.records import Status

_CACHE_SIZE = 1 << 16

_Question = tuple[str, str]


class Grader:
    """Judges of answers and of unit tests. Close it, or use it as a context manager.

    limits: the executor's config, of which the judges keep all but the time limits. Their servers
    start when they are first needed.
    """

    def __init__(self, config: GraderConfig | None = None, limits: ExecutorConfig | None = None):
        self.config = config or GraderConfig()
        self._limits = dataclasses.replace(
            limits or ExecutorConfig(),
            timeout_s=self.config.timeout_s,
            cpu_seconds=self.config.timeout_s,
        )
        self._lock = threading.Lock()
        self._judges: Executor | None = None
        self._known: collections.OrderedDict[_Question, bool] = collections.OrderedDict()

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def judges(self) -> Executor:
        """The executor of symbolic comparisons and unit tests, opened when it is first asked for.

        Nothing that a model wrote may be run in it."""
        with self._lock:
            if self._judges is None:
                self._judges = Executor(self._limits)
            return self._judges

    def close(self) -> None:
        with self._lock:
            if self._judges is not None:
                self._judges.close()

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
                        waiting[question] = self.judges.compare(*question)
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
