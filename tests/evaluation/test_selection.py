"""Selection metrics by hand, over all eight kinds of query."""

import itertools

import numpy as np
import pytest

from acim_jax.evaluation import selection

#: (chose code, text solves, code solves) -> what it is called; None where neither solves.
KINDS = {
    (False, True, True): "strict",  # the oracle prefers text where both work
    (True, True, True): "allowed",
    (False, True, False): "strict",
    (True, True, False): "wrong",
    (False, False, True): "wrong",
    (True, False, True): "strict",
    (False, False, False): None,
    (True, False, False): None,
}


def judge(queries) -> selection.Selection:
    chose, text, code = np.array(queries, bool).reshape(-1, 3).T
    return selection.judge(chose, text, code)


@pytest.mark.parametrize("query", list(KINDS))
def test_every_kind_of_query(query):
    found = judge([query])
    kind = KINDS[query]
    if kind is None:
        assert found == selection.Selection(None, None, None, None, 0.0)
    else:
        strict, allowed, wrong = (float(kind == k) for k in ("strict", "allowed", "wrong"))
        assert found == selection.Selection(strict + allowed, strict, allowed, wrong, 1.0)


def test_shares_of_a_mixture():
    """Counts 3, 1, 2, 5, 1, 4, 2, 2 of the kinds in order: 16 can be solved of 20."""
    counts = (3, 1, 2, 5, 1, 4, 2, 2)
    assert set(itertools.product((False, True), repeat=3)) == set(KINDS)
    found = judge([q for q, n in zip(KINDS, counts, strict=True) for _ in range(n)])
    assert found.strict_align == pytest.approx(9 / 16)
    assert found.allow_code == pytest.approx(1 / 16)
    assert found.mis_align == pytest.approx(6 / 16)
    assert found.selection_accuracy == pytest.approx(10 / 16)
    assert found.oracle_accuracy == pytest.approx(16 / 20)


def test_of_nothing_there_is_no_rate():
    assert judge([]) == selection.Selection(None, None, None, None, None)


def test_the_better_decision_of_a_stratum():
    """Means decide, not single problems; a tie is text's."""
    strata = [f"mul/{level}" for level in "112223"]
    text = [1.0, 0.0, 1.0, 0.0, 0.0, 0.5]
    code = [0.0, 1.0, 0.0, 1.0, 1.0, 0.5]
    records = [
        {"stratum": stratum, "text": t, "code": c}
        for stratum, t, c in zip(strata, text, code, strict=True)
    ]
    by_stratum = selection.better_decisions(records)
    assert by_stratum == {"mul/1": "text", "mul/2": "code", "mul/3": "text"}
    gaps = selection.gaps(records)
    assert gaps == pytest.approx({"mul/1": 0.0, "mul/2": 1 / 3, "mul/3": 0.0})
    new = [
        {"stratum": "mul/1", "text": 0.1, "code": 0.4},
        {"stratum": "mul/2", "text": 0.2, "code": 0.5},
        {"stratum": "mul/9", "text": 0.3, "code": 0.6},
    ]
    assert selection.oracle_rewards(new, by_stratum) == [0.1, 0.5, 0.3]
