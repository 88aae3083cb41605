"""Rewards of code problems: which unit tests a program passes.

A test never runs in the process of the program that it tests, and what the program should give is
never where the program can see it:

- tests that call functions (`assert f(1) == 2`, HumanEval's `check(candidate)`) run in a child of
  the judges' servers (`judging.py`), which sees the program's answers as plain data. The program
  runs in a child of the executor, one per test, which is told the calls and nothing else. Made up
  answers and objects that equal everything gain nothing: a claim is compared elsewhere;
- tests that give standard input and output compare what was printed, here.
"""

import ast
import collections
import dataclasses
import inspect
import json
import re
import secrets
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

from acim_jax.environment.confined import ConfinedFunction, Ending
from acim_jax.environment.executor import Executor
from acim_jax.grading import remote_calls
from acim_jax.markup import Markup
from acim_jax.records import ExecutionResult, InputOutput, Problem, Status

_FENCED = re.compile(r"```(?:python|py)?[ \t]*\r?\n(.*?)```", re.DOTALL)
#: Characters that the answers to one test's calls, or one program's output, may have.
_MAX_CHARS = 1 << 20
#: Times that a test may ask for calls that depend on the answers to earlier ones.
_MAX_ROUNDS = 8
#: Fields of a case that are arguments of `judging.judge`.
_JUDGED = ("preface", "test", "entry_point", "operations", "answers")


class Score(NamedTuple):
    """passed of total tests. infra: one of them could not be run by a failure of ours."""

    passed: int
    total: int
    infra: bool = False

    @property
    def share(self) -> float:
        return self.passed / self.total if self.total else 0.0

    @property
    def all_passed(self) -> bool:
        return self.total > 0 and self.passed == self.total


@dataclasses.dataclass
class _Case:
    """One test of one program on its way to a verdict.

    program: its index. printed: the test, if it gives input and output; else it is `test`, code.
    operations: what that asks of the program; answers: JSON, one of each.
    """

    program: int
    sources: tuple[str, ...]
    printed: InputOutput | None = None
    preface: str = ""
    test: str = ""
    entry_point: str = ""
    operations: list[object] = dataclasses.field(default_factory=list[object])
    answers: list[str] = dataclasses.field(default_factory=list[str])
    verdict: bool | None = None
    infra: bool = False


def candidate(response: str, markup: Markup) -> str | None:
    """The last complete program of a response, in the markup's fences or in Markdown's."""
    own = re.escape(markup.code_open) + r"(.*?)" + re.escape(markup.code_close)
    found = re.findall(own, response, re.DOTALL) or _FENCED.findall(response)
    return found[-1] if found else None


def score_all(
    pairs: Sequence[tuple[str | None, Problem]], programs: Executor, judges: ConfinedFunction
) -> list[Score]:
    """The tests that each program passes, run side by side; None, no program, passes nothing.

    programs: runs what models wrote. judges: runs `judging.judge_all`.
    """
    cases = [
        _case(index, code, problem, test)
        for index, (code, problem) in enumerate(pairs)
        if code is not None
        for test in problem.tests
    ]
    _judge_prints(cases, programs)
    _judge_calls([case for case in cases if case.printed is None], programs, judges)
    passed = collections.Counter(case.program for case in cases if case.verdict)
    failed = {case.program for case in cases if case.infra}
    return [
        Score(passed[index], len(problem.tests), index in failed)
        for index, (_, problem) in enumerate(pairs)
    ]


def _judge_prints(cases: Sequence[_Case], programs: Executor) -> None:
    pairs = [(case, case.printed) for case in cases if case.printed is not None]
    calls = [("run_with_input", case.sources[0], printed.stdin) for case, printed in pairs]
    for (case, printed), result in zip(pairs, _run(calls, programs), strict=True):
        ended_well = result.status is Status.OK and not result.truncated
        case.verdict = ended_well and _lines(result.stdout) == _lines(printed.stdout)
        case.infra = result.status is Status.INFRA


def _lines(text: str) -> list[str]:
    """Lines without the blanks at their ends, and without empty lines at the end."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _case(index: int, code: str, problem: Problem, test: str | InputOutput) -> _Case:
    """A program without the entry point is taken as the body that continues the question.

    The program is given the imports of the set-up, and the question's own imports and helpers.
    """
    if isinstance(test, InputOutput):
        return _Case(index, (code,), printed=test)
    name, question = problem.entry_point, problem.question
    preface = question if name and _statements(question) is not None else ""
    if name and not re.search(rf"\bdef\s+{re.escape(name)}\b", code):
        sources = (f"{question}\n{code}",)
    else:
        sources = (preface, code)
    whole = f"{problem.test_setup}\n{test}" if problem.test_setup else test
    setup = _statements(problem.test_setup) or []
    imports = [ast.unparse(one) for one in setup if isinstance(one, ast.Import | ast.ImportFrom)]
    sources = tuple(filter(None, ("\n".join(imports), *sources)))
    return _Case(index, sources, preface=preface, test=whole, entry_point=name)


def _statements(text: str) -> list[ast.stmt] | None:
    """Of a piece of Python; None if it is none."""
    try:
        return ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _judge_calls(cases: Sequence[_Case], programs: Executor, judges: ConfinedFunction) -> None:
    """Fills in the verdicts: asks the judges what to call, the programs, and the judges again."""
    # What each test calls first; equal tests are asked once.
    first: dict[tuple[str, str, str], _Case] = {}
    for case in cases:
        first.setdefault((case.preface, case.test, case.entry_point), case)
    _ask_judges(list(first.values()), judges)
    for case in cases:
        asked = first[case.preface, case.test, case.entry_point]
        case.operations, case.verdict, case.infra = asked.operations, asked.verdict, asked.infra
    for _ in range(_MAX_ROUNDS):
        waiting = [case for case in cases if case.verdict is None]
        _ask_programs(waiting, programs)
        _ask_judges([case for case in waiting if case.verdict is None], judges)


def _ask_programs(cases: Sequence[_Case], programs: Executor) -> None:
    mark = secrets.token_hex(8)
    calls = [("answer_calls", case.sources, case.operations, mark) for case in cases]
    for case, result in zip(cases, _run(calls, programs), strict=True):
        case.answers = _marked(result, mark)
        case.infra = result.status is Status.INFRA
        if len(case.answers) != len(case.operations):
            case.verdict = False  # it ended before it had answered all


def _ask_judges(cases: Sequence[_Case], judges: ConfinedFunction) -> None:
    """Verdicts or further operations; the tests of one program share a child."""
    mark = secrets.token_hex(8)
    groups: dict[int, list[_Case]] = {}
    for case in cases:
        groups.setdefault(case.program, []).append(case)
    futures = [
        judges.call(
            [{name: getattr(case, name) for name in _JUDGED} for case in group],
            mark,
            convert=lambda end: end,
            output_chars=_MAX_CHARS,
        )
        for group in groups.values()
    ]
    for group, future in zip(groups.values(), futures, strict=True):
        result = future.result()
        lines = _marked(result, mark)
        for case, line in zip(group, lines, strict=False):
            reply = json.loads(line)
            case.verdict, case.operations = reply.get("passed"), reply.get("operations", [])
        for case in group[len(lines) :]:
            case.verdict, case.infra = False, result.status is Status.INFRA


def _marked(result: ExecutionResult | Ending, mark: str) -> list[str]:
    if result.truncated:
        return []
    lines = result.stdout.split("\n")
    return [line.removeprefix(mark) for line in lines if line.startswith(mark)]


def _run(calls: Sequence[tuple[object, ...]], programs: Executor) -> list[ExecutionResult]:
    """Calls functions of `remote_calls.py`, given with their arguments, where programs run."""
    source = inspect.getsource(remote_calls)
    futures: list[Future[ExecutionResult]] = []
    for function, *arguments in calls:
        # A nested `exec` compiles without building syntax trees as Python objects: 2 ms less.
        code = f"exec({source!a})\n{function}(*json.loads({json.dumps(arguments)!a}))\n"
        futures.append(programs.submit(code, output_chars=_MAX_CHARS))
    return [future.result() for future in futures]
