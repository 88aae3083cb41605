"""EM iterations end to end on a tiny world: real interpreter, real rewards, all annotations
checked at run time."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.em import e_step, loop
from acim_jax.explore.config import ExploreConfig
from acim_jax.explore.curriculum import History
from acim_jax.files import jsonl
from acim_jax.improve.state import TrainState
from acim_jax.model import scoring
from acim_jax.records import Author, Status, Stop
from acim_jax.run import compilation, iteration_files, iteration_metrics, precompile
from acim_jax.run import resources as run_resources
from acim_jax.run.folder import SUBFOLDERS, RunFolder
from acim_jax.sharding import place
from acim_jax.sharding.config import MeshConfig
from tests.support import small_world

EM = small_world.run_config(mesh=MeshConfig(1, 1, 1))
RL = small_world.run_config(
    method="rl",
    explore=ExploreConfig(problems=6, guided_rollouts=0, native_rollouts=8, keep=0),
    mesh=MeshConfig(2, 2, 2),
)


@pytest.fixture(scope="module")
def start():
    return small_world.warmed_up()


def run(config, start, iterations: int):
    """Iterations of one run; the state's buffers are used up, so it starts from a copy."""
    with (
        run_resources.opened(config, small_world.model(), small_world.PROBLEMS) as resources,
        compilation.CompileCounter() as counter,
    ):
        learner = resources.learner
        params = place.to_layout(jax.tree.map(jnp.copy, start), learner.layout)
        state, history = learner.new_state(params), History()
        precompile.compile_all(state, resources)
        results, compiled = [], []
        for iteration in range(1, iterations + 1):
            counter.take()
            result = loop.em_iteration(
                state, small_world.PROBLEMS, history, resources, iteration, progress=0.0
            )
            state, history = result.state, result.history
            compiled.append(counter.take().executables)
            results.append(result)
        policy = e_step.policy(state, small_world.PROBLEMS, resources).code
    return results, compiled, policy


@pytest.fixture(scope="module")
def em_run(start):
    return run(EM, start, 4)


def test_warm_iterations_compile_nothing(em_run):
    """Nor does the first one, but for the policy estimator and the placing of its batches."""
    compiled = em_run[1]
    assert compiled[0] <= 3
    assert compiled[1:] == [0, 0, 0]


def test_stored_logprobs_are_those_of_the_trainer(em_run, start):
    """Rollouts of iteration 1, with the interpreter's real output between MODEL tokens."""
    score = jax.jit(lambda ids: scoring.token_logprobs(start, small_world.model().config, ids))
    behind_output = 0
    for episode in em_run[0][0].exploration.episodes:
        row = np.zeros((1, 56), np.int32)
        row[0, : episode.num_tokens] = episode.token_ids
        logprobs = np.asarray(score(row))[0]
        at, seen_output = 0, False
        for segment in episode.segments:
            n = len(segment.token_ids)
            if segment.author is Author.MODEL:
                expected = logprobs[at : at + n]
                np.testing.assert_allclose(segment.logprobs, expected, rtol=0, atol=1e-5)
                behind_output += n * seen_output
            seen_output |= segment.author is Author.OUTPUT
            at += n
    assert behind_output > 50


def test_what_the_e_step_finds(em_run):
    found = em_run[0][0].exploration
    executions = [x for e in found.episodes for x in e.executions]
    assert sum(x.status is Status.OK for x in executions) > 20
    assert {x.stdout for x in executions} >= {"7\n", "8\n"}
    assert len(found.episodes) == 6 * 8
    values = np.array([v.value for v in found.values])
    assert values[:, 0].mean() < 0.8 and values[:, 1].mean() > 0.4, "not the world it should be"


def test_values_and_strategies_of_every_iteration(em_run):
    dead = broke = 0
    for result in em_run[0]:
        found = result.exploration
        for value in found.values:
            mine = [e for e in found.episodes if e.problem_id == value.problem_id]
            broke += sum(e.stop is Stop.BROKE_GUIDE for e in mine)
            for c, guide in enumerate(("text", "code")):
                own = [e for e in mine if e.guide == guide]
                assert len(own) == 4
                rewards = [e.reward for e in own if e.stop is not Stop.BROKE_GUIDE]
                assert value.counts[c] == len(rewards)
                np.testing.assert_allclose(value.value[c], np.mean(rewards))
            strategy = found.strategies.get(value.problem_id)
            if value.value.any():
                odds = value.policy * np.exp(value.value / 0.1)
                np.testing.assert_allclose(strategy, odds / odds.sum(), rtol=1e-9)
            else:
                assert strategy is None
                dead += 1
        gone = {p.id for p in found.problems} - found.strategies.keys()
        left = [
            e for e in found.episodes if e.problem_id in gone and e.stop is not Stop.BROKE_GUIDE
        ]
        assert result.curation.dropped["no_signal"] == len(left)
    assert dead >= 4, "the two problems without a solution, twice each"
    assert broke <= 4, "text that opens programs"


def test_metrics_agree_with_the_records(em_run):
    for result in em_run[0]:
        counts, row = result.curation, iteration_metrics.of_iteration(result, EM.explore)
        drops = sum(v for k, v in row.items() if k.startswith("curate/dropped/"))
        assert row["curate/kept"] + drops == counts.rollouts == 48
        trained = sum(e.episode.num_model_tokens for e in result.examples)
        assert row["train/target_tokens"] == trained
        assert row["train/drawn_tokens"] == counts.drawn_tokens > trained
        assert row["explore/sampled_tokens"] == sum(
            e.num_model_tokens for e in result.exploration.episodes
        )
        rewards = [e.reward for e in result.exploration.episodes]
        assert row["explore/reward"] == pytest.approx(np.mean(rewards))
        assert all(v is None or math.isfinite(v) for v in row.values())


def test_metrics_by_domain(em_run):
    """The same iteration, its problems told apart by their numbers."""
    result, mix = em_run[0][0], {"even": 1.0, "odd": 1.0, "none": 1.0}
    problems = [
        dataclasses.replace(p, source="odd" if int(p.id[1:]) % 2 else "even")
        for p in result.exploration.problems
    ]
    told = result._replace(exploration=result.exploration._replace(problems=problems))
    explore = dataclasses.replace(EM.explore, mix=mix, mix_by="source")
    row = iteration_metrics.of_iteration(told, explore)
    for name, rest in (("even", 0), ("odd", 1)):
        ids = {p.id for p in problems if int(p.id[1:]) % 2 == rest}
        own = [e for e in result.exploration.episodes if e.problem_id in ids]
        assert row[f"domain/{name}/problems"] == len(ids) > 0
        rewards = [e.reward for e in own]
        assert row[f"domain/{name}/reward"] == row[f"domain/{name}/solved"] == np.mean(rewards)
        assert row[f"domain/{name}/code_rate"] == np.mean([e.decision == "code" for e in own])
        kept = [e for e in result.examples if e.episode.problem_id in ids]
        assert row[f"domain/{name}/kept"] == len(kept)
    assert row["domain/none/reward"] is None and row["domain/none/problems"] == 0
    assert not any(
        key.startswith("domain/") for key in iteration_metrics.of_iteration(told, EM.explore)
    )


def test_em_moves_the_policy_to_the_better_decision(em_run, start):
    """From a prior of 0.2 to nearly always code, with a higher reward for native rollouts."""
    results, _, policy = em_run
    before = np.mean([v.policy[1] for v in results[0].exploration.values])
    assert 0.1 < before < 0.35
    assert policy.mean() > 0.6
    assert [int(r.state.step) for r in results[-1:]] == [8]


def test_plain_rl_is_the_same_program_without_guides(start):
    """Here on eight devices."""
    (first, _), compiled, _ = run(RL, start, 2)
    assert compiled[1] == 0
    assert {e.guide for e in first.exploration.episodes} == {"native"}
    assert len(first.exploration.episodes) == 48
    assert not first.exploration.strategies
    assert first.fit.decision_loss is None
    assert first.fit.ratio_mean == pytest.approx(1.0, abs=0.1)
    rewards: dict[str, list[float]] = {}
    for episode in first.exploration.episodes:
        rewards.setdefault(episode.problem_id, []).append(episode.reward)
    mixed = {p for p, r in rewards.items() if len(set(r)) > 1}
    assert {e.episode.problem_id for e in first.examples} == mixed
    assert len(first.examples) == 8 * len(mixed), "all rollouts of a group are kept"
    for example in first.examples:
        group = np.array(rewards[example.episode.problem_id])
        expected = (example.episode.reward - group.mean()) / (group.std() + 1e-4)
        assert example.advantage == pytest.approx(expected, rel=1e-6)
        assert example.episode.segments[1].author is Author.MODEL, "the decision is sampled"


def test_problems_that_agree_are_replaced_by_the_next_ones(start):
    """Two of the twelve problems are never solved, and groups of two often agree."""
    chosen = ExploreConfig(
        problems=6, guided_rollouts=0, native_rollouts=2, keep=0, refill_rounds=3
    )
    config = dataclasses.replace(RL, explore=chosen, mesh=MeshConfig(1, 1, 1))
    results, compiled, _ = run(config, start, 2)
    assert compiled[1] == 0
    plain = dataclasses.replace(config, explore=dataclasses.replace(chosen, refill_rounds=0))
    assert len(run(plain, start, 1)[0][0].exploration.episodes) == 12
    made = 0
    for result in results:
        found = result.exploration
        ids = [problem.id for problem in found.problems]
        assert len(set(ids)) == len(ids) > 6, "further problems, each once"
        rewards = {i: {e.reward for e in found.episodes if e.problem_id == i} for i in ids}
        mixed = [i for i in ids if len(rewards[i]) > 1]
        assert [problem.id for problem in found.batch] == mixed
        assert len(mixed) == 6 or len(ids) == 12, "until the batch is full or nothing is left"
        assert {e.episode.problem_id for e in result.examples} == set(mixed)
        assert result.curation.dropped["replaced"] == 2 * (len(ids) - len(mixed))
        assert "all_agree" not in result.curation.dropped
        tokens = [e.num_model_tokens for e in found.episodes if e.problem_id in mixed]
        assert result.curation.drawn_tokens == sum(tokens)
        made += len(found.episodes)
    assert results[1].history.rollouts == made


def test_answers_made_of_two_rollouts_are_learned_beside_the_others(start):
    explore = dataclasses.replace(EM.explore, reflections=2)
    improve = dataclasses.replace(EM.improve, buckets=(56, 128), minibatches=1)
    results, compiled, _ = run(dataclasses.replace(EM, explore=explore, improve=improve), start, 2)
    assert compiled[1] == 0
    for result in results:
        counts, row = result.curation, iteration_metrics.of_iteration(result, EM.explore)
        own, made = result.examples[: counts.kept], result.examples[counts.kept :]
        assert 0 < row["curate/reflections"] == len(made) <= 12
        assert all(e.episode.transplanted and e.advantage == 1.0 for e in made)
        assert not any(e.episode.transplanted for e in own)
        assert result.fit.recomputed_fraction == len(made) / len(result.examples)
        # The gate is of the sampler's own rows, and every ratio begins at 1.
        assert result.fit.mismatch is not None and result.fit.mismatch < 1e-5
        assert result.fit.ratio_mean == pytest.approx(1.0, abs=1e-5)


def test_rollouts_behind_a_hint_are_trained_on_without_it(start):
    explore = dataclasses.replace(EM.explore, guide="hint")
    sampling = dataclasses.replace(EM.sampling, max_length=88, prefill_buckets=(16, 48))
    improve = dataclasses.replace(EM.improve, buckets=(32, 88), minibatches=1)
    config = dataclasses.replace(EM, explore=explore, sampling=sampling, improve=improve)
    (first, _), compiled, _ = run(config, start, 2)
    assert compiled[1] == 0
    prompts = {tuple(e.segments[0].token_ids.tolist()) for e in first.exploration.episodes}
    assert len(prompts) == 6, "a problem's prompt is one, whatever the hint was"
    assert first.examples and first.fit.recomputed_fraction == 1.0 and first.fit.mismatch is None
    assert first.fit.ratio_mean == pytest.approx(1.0, abs=1e-5)


def test_the_file_says_the_advantage_of_what_was_kept(em_run, tmp_path):
    """Also where the examples are changed copies of the rollouts, as with KL in the reward, and
    with an answer that was made of two behind them."""
    result = em_run[0][0]
    examples = [
        dataclasses.replace(one, episode=dataclasses.replace(one.episode, reference_kl=1.0))
        for one in result.examples
    ]
    joined = dataclasses.replace(examples[0], advantage=99.0)
    changed = result._replace(examples=[*examples, joined])
    folder = RunFolder(tmp_path)
    for name in SUBFOLDERS:
        (tmp_path / name).mkdir()
    iteration_files.write(changed, small_world.model().tokenizer, folder, 1)
    written = [record["advantage"] for _, record in jsonl.read(folder.episodes(1))]
    known = sorted(value for value in written if value is not None)
    assert known == sorted(one.advantage for one in result.examples)


def test_one_iteration_is_a_function_of_its_state(start):
    """Made again it gives the same numbers and the same weights, bit by bit."""
    once, again = (run(EM, start, 1)[0][0] for _ in range(2))
    assert once.fit == again.fit
    leaves = lambda r: jax.tree.leaves(r.state.params)  # noqa: E731
    for one, other in zip(leaves(once), leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)
    assert isinstance(once.state, TrainState)
    changed = dataclasses.replace(EM, seed=1)
    other = run(changed, start, 1)[0][0]
    assert other.fit != once.fit
