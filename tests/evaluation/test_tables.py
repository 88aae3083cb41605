"""Tables of evaluations against enumeration and hand computation."""

import itertools

import numpy as np
import pytest

from acim_jax.evaluation import tables
from acim_jax.evaluation.episode_records import Call, Judged


def judged(problem_id: str, *samples: tuple[float, str | None], guide: str = "native", code=False):
    made = []
    for k, (reward, answer) in enumerate(samples):
        calls = (Call(ok=reward > 0),) if code else ()
        decision, stop = ("code", "eos") if code else ("text", "length")
        fields = (problem_id, k, guide, decision, reward, answer, stop, calls, 10 + k)
        made.append(Judged(*fields))
    return made


FOUR = judged("p", (0.0, "3"), (1.0, "7"), (1.0, "7"), (0.0, "3"))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_pass_at_is_the_share_of_subsets(k: int):
    group = [*FOUR, *judged("p", (0.5, "x"))]
    subsets = list(itertools.combinations(group, k))
    expected = np.mean([any(j.reward == 1.0 for j in subset) for subset in subsets])
    assert tables.pass_at(group, k) == pytest.approx(expected)


def test_majority():
    """Votes of the first k samples; the earlier of two equally common answers; none is no vote."""
    assert [tables.majority_at(FOUR, k) for k in (1, 2, 3, 4)] == [0.0, 0.0, 1.0, 0.0]
    assert tables.majority_at(list(reversed(FOUR)), 3) == 1.0
    nothing = judged("p", (0.0, None), (0.0, None), (1.0, "7"))
    assert tables.majority_at(nothing, 2) == 0.0
    assert tables.majority_at(nothing, 3) == 1.0


def test_guide_table():
    """Two problems of four samples: the error is that of problems, not of samples."""
    both = [*FOUR, *judged("q", *[(1.0, "1")] * 4, code=True)]
    table = tables.guide_table(both, 4)
    assert table["n"] == 2
    assert table["accuracy"] == table["avg_at"]["4"] == pytest.approx(0.75)
    assert table["avg_at_stderr"] == {"4": table["stderr"]}
    assert table["stderr"] == pytest.approx(np.std([0.5, 1.0], ddof=1) / np.sqrt(2))
    assert table["code_rate"] == 0.5
    assert table["executions_per_problem"] == 0.5
    assert table["execution_ok_rate"] == 1.0
    assert table["pass_at"] == pytest.approx({"1": 0.75, "2": (5 / 6 + 1) / 2, "4": 1.0})
    assert table["maj_at"] == {"2": 0.5, "4": 0.5}
    assert table["mean_response_tokens"] == 11.5
    assert list(table["stops"].items()) == [("eos", 4), ("length", 4)]


def test_a_rate_over_nothing_is_none():
    table = tables.guide_table([], 1)
    assert table["n"] == 0
    assert {k for k, v in table.items() if v is None} == {
        "accuracy",
        "stderr",
        "code_rate",
        "executions_per_problem",
        "execution_ok_rate",
        "mean_response_tokens",
        "calls_per_solved",
        "ignored_rate",
        "first_program",
    }
    single = tables.guide_table(judged("p", (1.0, "7")), 1)
    assert single["stderr"] is None and single["execution_ok_rate"] is None
    assert single["accuracy"] == 1.0
    assert single["pass_at_stderr"] == {"1": None}
    assert table["avg_at"] == {"1": None}


def test_bootstrap_errors():
    """Of 40 problems, 8 solved always, 12 by one sample of two, 20 never. The bootstrap error of a
    mean tends to std/√n with n, not n-1, below the variance."""
    solved = [(1.0, 1.0)] * 8 + [(0.0, 1.0)] * 12 + [(0.0, 0.0)] * 20
    both = [
        one
        for i, (first, second) in enumerate(solved)
        for one in judged(str(i), (first, str(first)), (second, str(second)))
    ]
    table = tables.guide_table(both, 2)
    assert table["pass_at"] == pytest.approx({"1": 14 / 40, "2": 20 / 40})
    assert table["maj_at"] == pytest.approx({"2": 8 / 40})
    squares = {"1": (8 + 12 / 4) / 40, "2": 20 / 40}
    errors = {k: np.sqrt((squares[k] - table["pass_at"][k] ** 2) / 40) for k in squares}
    assert table["pass_at_stderr"] == pytest.approx(errors, rel=0.07)
    assert table["maj_at_stderr"] == pytest.approx({"2": np.sqrt(0.2 * 0.8 / 40)}, rel=0.07)
    assert tables.guide_table(both, 2) == table


def test_calls_of_right_and_wrong_responses():
    """Two right responses with three calls, a wrong one with two, of which one was right."""

    def response(reward: float, *calls: Call, first: float | None) -> Judged:
        return Judged("p", 0, "native", "code", reward, "1", "eos", calls, 10, first)

    table = tables.guide_table(
        [
            response(1.0, Call(True, True, True), Call(False, True, False), first=0.5),
            response(1.0, Call(True, False, True), first=0.75),
            response(0.5, Call(True, True, True), Call(True, True, False), first=0.25),
            response(0.0, first=None),
        ],
        1,
    )
    assert table["calls"] == {
        "right": {"responses": 2, "calls": 3, "before_answer": 2, "ok": 2, "right_output": 2,
                  "ignored": 0},
        "wrong": {"responses": 2, "calls": 2, "before_answer": 2, "ok": 2, "right_output": 1,
                  "ignored": 1},
    }  # fmt: skip
    assert table["calls_per_solved"] == 5 / 2
    assert table["ignored_rate"] == pytest.approx(1 / 3)
    assert table["first_program"] == 0.5
    unsolved = tables.guide_table([response(0.0, Call(True, True, False), first=0.5)], 1)
    assert unsolved["calls_per_solved"] is None and unsolved["ignored_rate"] is None


def test_decisions_table():
    """Half of the samples decide; problems that were not forced are left out."""
    native = [
        *judged("a", (1.0, "1"), (0.0, "2"), code=True),  # both work: allowed
        *judged("b", (0.0, "1"), (0.0, "1")),  # code alone works: wrong
        *judged("c", (1.0, "1"), (1.0, "1")),  # text alone works: strict
        *judged("d", (1.0, "1"), (1.0, "1")),  # neither works
        *judged("e", (1.0, "1"), (1.0, "1"), code=True),  # not forced
    ]
    solves = {"a": (1, 0.5), "b": (0.25, 1), "c": (1, 0), "d": (0, 0)}
    oracle = {
        guide: [j for p, r in solves.items() for j in judged(p, (float(r[c]), "1"), guide=guide)]
        for c, guide in enumerate(("text", "code"))
    }
    table = tables.decisions_table(native, oracle)
    assert table == pytest.approx(
        {
            "selection_accuracy": 2 / 3,
            "strict_align": 1 / 3,
            "allow_code": 1 / 3,
            "mis_align": 1 / 3,
            "oracle_accuracy": 3 / 4,
        }
    )
