"""Tables of evaluations against enumeration and hand computation; forced runs of a random model."""

import itertools

import numpy as np
import pytest

from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.evaluation import evaluate
from acim_jax.evaluation.episode_rows import Judged, episode_row
from acim_jax.grading.grader import Grader
from acim_jax.records import Author, SamplingParams
from tests.support import tiny_models
from tests.support.tiny_models import CHATTY


def judged(problem_id: str, *samples: tuple[float, str | None], guide: str = "native", code=False):
    made = []
    for k, (reward, answer) in enumerate(samples):
        ran_well = int(code and reward > 0)
        row = (problem_id, k, guide, code, reward, answer, int(code), ran_well, 10 + k)
        made.append(Judged(*row))
    return made


FOUR = judged("p", (0.0, "3"), (1.0, "7"), (1.0, "7"), (0.0, "3"))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_pass_at_is_the_share_of_subsets(k: int):
    group = [*FOUR, *judged("p", (0.5, "x"))]
    subsets = list(itertools.combinations(group, k))
    expected = np.mean([any(j.reward == 1.0 for j in subset) for subset in subsets])
    assert evaluate.pass_at(group, k) == pytest.approx(expected)


def test_majority():
    """Votes of the first k samples; the earlier of two equally common answers; none is no vote."""
    assert [evaluate.majority_at(FOUR, k) for k in (1, 2, 3, 4)] == [0.0, 0.0, 1.0, 0.0]
    assert evaluate.majority_at(list(reversed(FOUR)), 3) == 1.0
    nothing = judged("p", (0.0, None), (0.0, None), (1.0, "7"))
    assert evaluate.majority_at(nothing, 2) == 0.0
    assert evaluate.majority_at(nothing, 3) == 1.0


def test_guide_table():
    """Two problems of four samples: the error is that of problems, not of samples."""
    rows = [*FOUR, *judged("q", *[(1.0, "1")] * 4, code=True)]
    table = evaluate.guide_table(rows, 4)
    assert table["n"] == 2
    assert table["accuracy"] == pytest.approx(0.75)
    assert table["stderr"] == pytest.approx(np.std([0.5, 1.0], ddof=1) / np.sqrt(2))
    assert table["code_rate"] == 0.5
    assert table["executions_per_problem"] == 0.5
    assert table["execution_ok_rate"] == 1.0
    assert table["pass_at"] == pytest.approx({"1": 0.75, "2": (5 / 6 + 1) / 2, "4": 1.0})
    assert table["maj_at"] == {"2": 0.5, "4": 0.5}
    assert table["mean_response_tokens"] == 11.5


def test_a_rate_over_nothing_is_none():
    table = evaluate.guide_table([], 1)
    assert table["n"] == 0
    assert {k for k, v in table.items() if v is None} == {
        "accuracy",
        "stderr",
        "code_rate",
        "executions_per_problem",
        "execution_ok_rate",
        "mean_response_tokens",
    }
    single = evaluate.guide_table(judged("p", (1.0, "7")), 1)
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
    table = evaluate.decisions_table({"native": native}, oracle)
    assert table == pytest.approx(
        {
            "selection_accuracy": 2 / 3,
            "strict_align": 1 / 3,
            "allow_code": 1 / 3,
            "mis_align": 1 / 3,
            "oracle_accuracy": 3 / 4,
        }
    )


def test_rollouts_are_forced_scored_and_in_order():
    """A random model with the real interpreter; its decision is the one that was forced, or text
    where it never closed the fence. Rows for the tables agree with the episodes."""
    sampler = tiny_models.make_sampler(max_length=48)
    problems = tiny_models.problems(3)
    wanted = [
        request
        for guide in ("native", "text", "code")
        for request in evaluate.requests(problems, guide, sampler, 2)
    ]
    prefixes = {"native": "", "text": CHATTY.text_prefixes[0], "code": CHATTY.code_prefixes[0]}
    assert [r.prefix for r in wanted] == [prefixes[r.guide] for r in wanted]
    limits = ExecutorConfig(workers=1, modules=())
    with Executor(limits) as executor, Grader(limits=limits) as grader:
        episodes = evaluate.rollouts(
            tiny_models.make_params(),
            wanted,
            sampler,
            executor,
            grader,
            sampling=SamplingParams(1.0),
            seed=0,
        )
    assert [(e.problem_id, e.guide, e.index) for e in episodes] == [
        (r.problem.id, r.guide, r.index) for r in wanted
    ]
    tokenizer = tiny_models.load_tokenizer()
    assert sum(len(e.executions) for e in episodes) > 0
    for episode in episodes:
        forced = [s for s in episode.segments if s.author is Author.FORCED]
        assert "".join(tokenizer.decode(s.token_ids) for s in forced) == prefixes[episode.guide]
        if episode.guide == "text":
            assert not episode.executions
        one = Judged.of_row(episode_row(episode, tokenizer, file="f"))
        assert one.executions == len(episode.executions)
        assert one.response_tokens == episode.num_response_tokens
        assert one.is_code == bool(episode.executions)
        assert (one.reward, one.answer) == (episode.reward, episode.answer)
