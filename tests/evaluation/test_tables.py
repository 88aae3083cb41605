"""Tables of evaluations against enumeration and hand computation."""

import itertools

import numpy as np
import pytest

from acim_jax.evaluation import tables
from acim_jax.evaluation.episode_records import Judged


def judged(problem_id: str, *samples: tuple[float, str | None], guide: str = "native", code=False):
    made = []
    for k, (reward, answer) in enumerate(samples):
        ran_well = int(code and reward > 0)
        decision, stop = ("code", "eos") if code else ("text", "length")
        fields = (problem_id, k, guide, decision, reward, answer, stop, int(code), ran_well, 10 + k)
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
    assert table["accuracy"] == pytest.approx(0.75)
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
    }
    single = tables.guide_table(judged("p", (1.0, "7")), 1)
    assert single["stderr"] is None and single["execution_ok_rate"] is None
    assert single["accuracy"] == 1.0


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
