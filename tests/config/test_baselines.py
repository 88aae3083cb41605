"""Baselines differ from EM in nothing but what they are about, and have its rollouts."""

from pathlib import Path

import pytest

from acim_jax.config import experiment
from acim_jax.config import run as config
from acim_jax.run import config_changes

CONFIGS = Path(__file__).parents[2] / "configs"
#: What plain RL is, beside EM: no guides, so every rollout native and kept, and no cross-entropy.
RL = {
    "method", "explore.guided_rollouts", "explore.native_rollouts", "explore.keep",
    "improve.decision_weight",
}  # fmt: skip
DIFFERENCES = {
    "rl": RL,
    "base-rl": RL | {"warmup.steps"},
    "sft": {"method", "run.iterations"},
    "rft": RL | {"improve.advantage", "improve.form", "improve.ratio"},
    "always-text": {"explore.strategy"},
    "always-code": {"explore.strategy"},
    "tata": {"method", "run.iterations", "data.demonstrations", "warmup.code_prior"},
}


@pytest.mark.parametrize("name", ["baselines.yaml", "baselines-tiny.yaml"])
def test_arms_differ_from_em_where_they_must_and_nowhere_else(name: str) -> None:
    arms = experiment.load(CONFIGS / name).arms
    assert {*arms} >= {"em", "rl", "base-rl", "sft", "rft", "always-text", "always-code"}
    em = arms["em"].runs[0]
    for arm, one in arms.items():
        changes = config_changes.between(config.plain(em), config.plain(one.runs[0]))
        fields = {change.field for change in changes}
        if one.runs[0].method == "sft":  # it has no M-step
            fields -= {"improve.decision_weight"}
        assert fields == DIFFERENCES.get(arm, set()), arm
        if one.runs[0].method != "sft":
            assert one.runs[0].explore.rollouts_per_problem == em.explore.rollouts_per_problem


@pytest.mark.parametrize("name", ["quickstart.yaml", "qwen2.5-coder-0.5b-cpu.yaml"])
def test_experiments_of_em_and_rl_differ_in_nothing_else(name: str) -> None:
    arms = {arm: one.runs[0] for arm, one in experiment.load(CONFIGS / name).arms.items()}
    changes = config_changes.between(config.plain(arms["em"]), config.plain(arms["rl"]))
    assert {change.field for change in changes} == RL


@pytest.mark.parametrize("name", ["torl", "retool", "simpletir"])
def test_published_recipes_load_and_say_where_they_come_from(name: str) -> None:
    path = CONFIGS / f"{name}-1.5b.yaml"
    chosen = config.load(path)
    assert "(arXiv:" in path.read_text() and chosen.method == "rl"
    assert chosen.explore.rollouts_per_problem == 16 and not chosen.explore.guided_rollouts
    assert chosen.explore.reward_wrong == (0.0 if name == "simpletir" else -1.0)
    assert chosen.model.markup["name"] == ("retool" if name == "retool" else "qwen2.5-math-tir")
