"""Grades responses: exactly where that decides, else by a symbolic comparison that can be killed.

Comparisons and judges of unit tests run in servers of their own, which never run a program: a
forked child inherits the memory of its server, and reference answers pass through these.
"""

import collections
import dataclasses
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.confined import ConfinedFunction, Ending
from acim_jax.environment.protocol import Job
from acim_jax.grading import answers, extraction, own_reward, symbolic_job
from acim_jax.grading.answers import Grade
from acim_jax.grading.config import GraderConfig
from acim_jax.records import Status

_CACHE_SIZE = 1 << 16

_Question = tuple[str, str]


class GradingTimes(NamedTuple):
    """Of the answers graded since the last reading: seconds of each, and the slowest of them,
    as it was extracted, with its reference."""

    seconds: tuple[float, ...]
    slowest: tuple[str | None, str] | None


class Grader:
    """Grades answers, and holds the judges of unit tests. Close it, or use it in a `with`.

    limits: the executor's config; judges keep all of it but the time limits. Servers start when
    they are first needed. Raises as `own_code.find` for an own reward that cannot be used.
    """

    def __init__(self, config: GraderConfig | None = None, limits: ExecutorConfig | None = None):
        self.config = config or GraderConfig()
        self.own_reward = own_reward.find(self.config.reward)
        self._limits = dataclasses.replace(
            limits or ExecutorConfig(),
            timeout_s=self.config.timeout_s,
            cpu_seconds=self.config.timeout_s,
        )
        self._lock = threading.Lock()
        self._opened: dict[Job, ConfinedFunction] = {}
        self._known: collections.OrderedDict[_Question, bool] = collections.OrderedDict()
        self._times: list[float] = []
        self._slowest: tuple[float, str | None, str] | None = None

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def judges(self) -> ConfinedFunction:
        """Runs `judging.judge_all`, with the modules that programs may import."""
        return self._open(Job("acim_jax.grading.judging:judge_all", self._limits.modules))

    def _open(self, job: Job) -> ConfinedFunction:
        with self._lock:
            if job not in self._opened:
                self._opened[job] = ConfinedFunction(job, self._limits)
            return self._opened[job]

    def close(self) -> None:
        """Ends all servers."""
        with self._lock:
            for opened in self._opened.values():
                opened.close()

    def grade(self, pairs: Sequence[tuple[str, str]]) -> list[Grade]:
        """Grades (whole response, reference answer) pairs, in order.

        Symbolic comparisons run side by side; equal ones, in this call and in earlier ones, once. A
        comparison that ran out of time is not remembered: the machine may have been busy.
        """
        grades: list[Grade] = []
        waiting: dict[_Question, Future[Ending]] = {}
        questions: dict[int, _Question] = {}
        for index, (prediction, answer) in enumerate(pairs):
            begin = time.perf_counter()
            extracted = extraction.extract_answer(prediction, self.config.unboxed)
            verdict = answers.decide(extracted, answer, self.config)
            if verdict is None:
                question = answers.comparable(extracted or "", answer)
                verdict = ("symbolic", self._known.get(question, False))
                if question in self._known:
                    self._known.move_to_end(question)
                else:
                    questions[index] = question
                    waiting[question] = waiting.get(question) or self._compare(question)
            method, correct = verdict
            grades.append(Grade(correct, extracted, method, time.perf_counter() - begin))
        for index, question in questions.items():
            grades[index] = self._with_comparison(grades[index], question, waiting[question])
        for grade, (_, answer) in zip(grades, pairs, strict=True):
            self._times.append(grade.wall_s)
            if self._slowest is None or grade.wall_s > self._slowest[0]:
                self._slowest = grade.wall_s, grade.extracted, answer
        return grades

    def take_times(self) -> GradingTimes:
        """What took how long since the last call."""
        times, self._times = self._times, []
        slowest, self._slowest = self._slowest, None
        return GradingTimes(tuple(times), None if slowest is None else slowest[1:])

    def _compare(self, question: _Question) -> Future[Ending]:
        return self._open(symbolic_job.JOB).call(*question, convert=lambda end: end)

    def _with_comparison(self, first: Grade, question: _Question, future: Future[Ending]) -> Grade:
        """A child that failed, for whatever reason, has not found the answers equal."""
        end = future.result()
        correct = end.exit_code == symbolic_job.EQUAL
        has_verdict = correct or end.exit_code == symbolic_job.DIFFERENT
        if has_verdict:
            self._known[question] = correct
            if len(self._known) > _CACHE_SIZE:
                self._known.popitem(last=False)
        return dataclasses.replace(
            first,
            correct=correct,
            method="timeout" if end.status is Status.TIMEOUT and not has_verdict else "symbolic",
            wall_s=first.wall_s + end.wall_s,
            infra=end.status is Status.INFRA,
        )
