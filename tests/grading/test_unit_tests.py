"""Unit tests as rewards: every form of test, honest programs, and programs that cheat."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import cheating_programs
import pytest

from acim_jax.data import problem_records
from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.grading import unit_tests
from acim_jax.grading.grader import Grader
from acim_jax.grading.unit_tests import Score
from acim_jax.records import InputOutput, Problem

#: Real problem files: $ACIM_REAL_DATA, or `shared/data` beside the checkout.
REAL = Path(os.environ.get("ACIM_REAL_DATA", str(Path(__file__).parents[3] / "shared" / "data")))


def problem(*tests: str | InputOutput, setup: str = "", entry_point: str = "") -> Problem:
    question = (
        f'import math\n\ndef helper(x):\n    return x + 1\n\ndef {entry_point}(x):\n    """?"""\n'
        if entry_point
        else "Write it."
    )
    return Problem(
        "p", question, "", "code", tests=tests, test_setup=setup, entry_point=entry_point
    )


SUMS = problem("assert add(1, 2) == 3", "assert add(-1, 1) == 0", "assert add(2, 2) == 4")
CHECKED = problem(
    "def check(candidate):\n"
    "    for x in range(20):\n"
    "        assert candidate(x) == helper(2 * x) - 1\n"
    "    assert not candidate(0)\n",
    entry_point="twice",
)
ECHO = problem(
    InputOutput("3\n1 2 3\n", "6\n"), InputOutput("0\n\n", "0"), InputOutput("1\n5\n", "5\n\n")
)
TREE = problem(
    "assert depth(root) == 2",
    setup="root = Node(1)\nroot.left = Node(2)\nroot.left.right = Node(3)\nroot.left.right = None",
)
STACK = problem("s = Stack()\ns.push(4)\ns.push(5)\nassert s.pop() == 5\nassert s.size == 1")
KINDS = problem(
    "assert f(1) == (1, [2], {3: 'x'}, {4}, None, True)",
    "assert f(2) == 2.5 and isinstance(f(2), float)",
    "assert list(f(3)) == [0, 1, 4]",
    "assert f(4) == b'ab' and f(5) == 3 + 4j",
    "assert abs(f(6) - 1e-9) < 1e-12",
    "assert f(7, unit='m') == {'unit': 'm'}",
    "try:\n    f(8)\n    assert False\nexcept ValueError:\n    pass",
    "assert f(9) == 10 ** 400",
    "import math\nassert math.isclose(f(6), 1e-9)",
    "assert sorted(f(10)) == ['a', 'b'] and len(f(10)) == 2",
    "assert f(f(11)) == (1, [2], {3: 'x'}, {4}, None, True)",
    "assert f(12, float) == 12.0",
)
KIND_PROGRAM = """
def f(n, kind=None, *, unit=None):
    match n:
        case 1: return 1, [2], {3: 'x'}, {4}, None, True
        case 2: return 2.5
        case 3: return (i * i for i in range(3))
        case 4: return b'ab'
        case 5: return 3 + 4j
        case 6: return 1e-9
        case 7: return {'unit': unit}
        case 8: raise ValueError('eight')
        case 9: return 10 ** 400
        case 10: return {'b': 1, 'a': 2}.keys() and ['b', 'a']
        case 11: return 1
        case 12: return kind(n)
"""
HONEST = [
    (SUMS, "def add(a, b):\n    return a + b", 3),
    (SUMS, "def add(a, b):\n    print('adding', a, b)\n    return a + b", 3),
    (SUMS, "import numpy as np\ndef add(a, b):\n    return np.int64(a) + b", 3),
    (SUMS, "def add(a, b):\n    return abs(a) + b", 2),
    (SUMS, "def add(a, b):\n    return str(a + b)", 0),
    (SUMS, "def add(a, b):\n    while a < 2: pass\n    return a + b", 1),
    (SUMS, "def add(a, b:", 0),
    (SUMS, "if __name__ == '__main__':\n    input()\nadd = lambda a, b: a + b", 3),
    (problem("assert sum(1, 2) == 3"), "def sum(a, b):\n    return a + b", 1),
    (problem("assert abs(f(2) - 4.0) < 1e-6"), "def f(x):\n    return x * x", 1),
    (problem("assert f(2) == math.sqrt(4)"), "def f(x):\n    return x", 1),
    (CHECKED, "    return 2 * x", 1),
    (CHECKED, "def twice(x):\n    return math.floor(helper(x)) + x - 1", 1),
    (CHECKED, "def twice(x):\n    return 2 * x if x < 19 else 0", 0),
    (TREE, cheating_programs.TREE_PROGRAM, 1),
    (STACK, cheating_programs.STACK_PROGRAM, 1),
    (KINDS, KIND_PROGRAM, 12),
    (ECHO, "n = int(input())\nprint(sum(map(int, input().split())))", 3),
    (ECHO, "import sys\nprint(sum(map(int, sys.stdin.read().split()[1:])))", 3),
    (ECHO, "print(sum(map(int, open(0).read().split()[1:])))\nexit()", 3),
    (ECHO, "import os\nprint(sum(map(int, os.read(0, 99).split()[1:])), end='  ')", 3),
    (ECHO, "def main():\n    print(6)\nif __name__ == '__main__':\n    main()", 1),
    (ECHO, "print(6)\n1/0", 0),
    (ECHO, "", 0),
]


@pytest.fixture(scope="module")
def results(executor: Executor, grader: Grader) -> list[Score]:
    pairs = [(code, task) for task, code, _ in HONEST]
    return unit_tests.score_all(pairs, executor, grader.judges)


@pytest.mark.parametrize("index", range(len(HONEST)))
def test_what_programs_give_is_compared_with_what_tests_want(
    results: list[Score], index: int
) -> None:
    task, code, passed = HONEST[index]
    assert results[index] == (passed, len(task.tests), False), code
    assert results[index].all_passed is (passed == len(task.tests))


@pytest.mark.parametrize("name", cheating_programs.FUNCTIONS)
def test_a_cheat_gains_nothing_from_tests_of_functions(
    executor: Executor, grader: Grader, name: str
) -> None:
    code = cheating_programs.FUNCTIONS[name]
    secret = problem(
        "assert f(3) == 71828", "assert abs(f(5) - 31415.0) < 1e-6", "assert f(7) in (141, 421)"
    )
    checked = problem(
        "SECRET = 71828\n\ndef check(candidate):\n"
        "    assert candidate(3) == SECRET\n    assert candidate(5) == 31415\n",
        entry_point="f",
    )
    scored = unit_tests.score_all([(code, secret), (code, checked)], executor, grader.judges)
    assert [one.passed for one in scored] == [0, 0], code
    assert [one.infra for one in scored] == [False, False]


@pytest.mark.parametrize("name", cheating_programs.WHOLE)
def test_a_cheat_gains_nothing_from_inputs_and_outputs(
    executor: Executor, grader: Grader, name: str
) -> None:
    task = problem(InputOutput("17\n", "71828\n"), InputOutput("18\n", "31415\n"))
    pair = (cheating_programs.WHOLE[name], task)
    (result,) = unit_tests.score_all([pair], executor, grader.judges)
    assert result == (0, 2, False)


def test_the_program_is_not_told_what_it_should_give(executor: Executor, grader: Grader) -> None:
    """A program that returns all that it can find, its own source, frames and heap included."""
    task = problem(f"assert f(3) == {cheating_programs.SECRET!r}")
    assert cheating_programs.SECRET not in cheating_programs.SEARCH
    told = cheating_programs.SEARCH.replace('""', repr(cheating_programs.SECRET), 1)
    pairs = [(cheating_programs.SEARCH, task), (told, task)]
    found, with_secret = unit_tests.score_all(pairs, executor, grader.judges)
    assert (found.passed, found.infra) == (0, False)
    assert with_secret.passed == 1


def test_rows_with_inputs_and_outputs_become_tests() -> None:
    row = {"id": "1", "problem": "Add.", "tests": [{"input": "1 2\n", "output": "3\n"}, "assert 1"]}
    task = problem_records.to_problem(row, "f:1", {})
    assert task.kind == "code"
    assert task.tests == (InputOutput("1 2\n", "3\n"), "assert 1")
    with pytest.raises(ValueError, match=r"tests\[0\] must be a string, got dict; a test of a"):
        problem_records.to_problem({**row, "tests": [{"input": 5, "output": "3"}]}, "f:1", {})


@pytest.fixture(scope="module")
def patient() -> Iterator[Executor]:
    """Some published programs take seconds."""
    with Executor(ExecutorConfig(workers=2, timeout_s=60.0, cpu_seconds=20.0)) as opened:
        yield opened


def _reference_programs(name: str, step: int) -> list[tuple[str, Problem]]:
    path = REAL / name
    if not path.is_file():
        pytest.skip(f"no {name}: set ACIM_REAL_DATA")
    found: list[tuple[str, Problem]] = []
    for line in path.read_text(encoding="utf-8").splitlines()[::step]:
        row = json.loads(line)
        task = problem_records.to_problem({**row, "kind": "code"}, name, {})
        found.append((row["answer"], task))
    return found


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("humaneval_test.jsonl", 8),
        ("mbpp.jsonl", 61),
        pytest.param("humaneval_test.jsonl", 1, marks=pytest.mark.slow),
        pytest.param("mbpp.jsonl", 1, marks=pytest.mark.slow),
    ],
)
def test_published_reference_programs_pass_their_tests_and_other_ones_do_not(
    patient: Executor, grader: Grader, name: str, step: int
) -> None:
    pairs = _reference_programs(name, step)
    scored = unit_tests.score_all(pairs, patient, grader.judges)
    assert [
        task.id for (_, task), one in zip(pairs, scored, strict=True) if not one.all_passed
    ] == []
    some = pairs[:40]
    swapped = [
        (code, task) for (code, _), (_, task) in zip(some, [*some[1:], some[0]], strict=True)
    ]
    others = unit_tests.score_all(swapped, patient, grader.judges)
    assert sum(one.passed for one in others) <= 0.05 * sum(one.total for one in others)
