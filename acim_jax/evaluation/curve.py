"""The learning curve: a run's native decisions beside what its starting checkpoint can do."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from acim_jax.evaluation import over_seeds, rollouts, selection, tables
from acim_jax.evaluation.rollouts import Solver
from acim_jax.evaluation.run_evaluation import VALIDATION_PROBLEMS
from acim_jax.evaluation.selection import Record
from acim_jax.explore.decisions import PolicyEstimate
from acim_jax.records import DECISIONS, DecisionName, Episode, Problem, SamplingParams
from acim_jax.rollout.progress import SILENT, Progress


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """What the starting checkpoint can do on the validation problems.

    records: of each problem, by its id. better: the decision of each stratum that earns more there.
    """

    records: Mapping[str, Record]
    better: Mapping[str, DecisionName]

    def of(self, problems: Sequence[Problem]) -> list[Record]:
        return [self.records[problem.id] for problem in problems]


class StartingLines(NamedTuple):
    """Mean rewards of the starting checkpoint: one decision always, or the oracle."""

    always_text: float
    always_code: float
    oracle: float


class CurvePoint(NamedTuple):
    """Native greedy runs of n validation problems. None is a mean over nothing.

    selection_accuracy: by the starting checkpoint's forced runs (`selection`).
    policy_code_on_code_favoured: mean pi-hat(code|x) where code is the stratum's better decision.
    """

    n: float
    accuracy: float | None
    accuracy_stderr: float
    code_rate: float | None
    selection_accuracy: float | None
    policy_code_on_code_favoured: float | None
    policy_code_on_text_favoured: float | None
    executions_per_problem: float | None


class SampledPoint(NamedTuple):
    """Native rollouts of the same problems by the training distribution, k of each.

    sampled_accuracy: avg@k, with its standard error over problems. sampled_pass: share of problems
    that one of the k solves (reward 1).
    """

    sampled_accuracy: float
    sampled_accuracy_stderr: float
    sampled_code_rate: float
    sampled_pass: float


def read_reference(folder: Path) -> Reference:
    """From the folder of the starting checkpoint's evaluation (`run_evaluation`)."""
    records = over_seeds.read_problems(folder / VALIDATION_PROBLEMS)
    by_id = {record["problem_id"]: record for record in records}
    return Reference(by_id, selection.better_decisions(records))


def starting_lines(problems: Sequence[Problem], reference: Reference) -> StartingLines:
    """The lines that a run's curve starts between."""
    records = reference.of(problems)
    always = [[record[decision] for record in records] for decision in DECISIONS]
    oracle = selection.oracle_rewards(records, reference.better)
    return StartingLines(*(float(np.mean(rewards)) for rewards in (*always, oracle)))


def episodes(
    solver: Solver, problems: Sequence[Problem], *, seed: int, progress: Progress = SILENT
) -> list[Episode]:
    """A native greedy run of each problem, in their order."""
    wanted = rollouts.requests(problems, ("native",), solver.sampler.markup, 1)
    return rollouts.run(solver, wanted, sampling=SamplingParams(0.0), seed=seed, progress=progress)


def sampled_episodes(
    solver: Solver,
    problems: Sequence[Problem],
    samples: int,
    sampling: SamplingParams,
    *,
    seed: int,
    progress: Progress = SILENT,
) -> list[Episode]:
    """`samples` native rollouts of each problem, problem by problem."""
    wanted = rollouts.requests(problems, ("native",), solver.sampler.markup, samples)
    return rollouts.run(solver, wanted, sampling=sampling, seed=seed, progress=progress)


def sampled_point(episodes: Sequence[Episode], samples: int) -> SampledPoint:
    """episodes: of `sampled_episodes`."""
    rewards_PK = np.array([episode.reward for episode in episodes]).reshape(-1, samples)
    means_P = rewards_PK.mean(axis=1)
    return SampledPoint(
        sampled_accuracy=float(means_P.mean()),
        sampled_accuracy_stderr=float(means_P.std() / math.sqrt(len(means_P))),
        sampled_code_rate=float(np.mean([episode.decision == "code" for episode in episodes])),
        sampled_pass=float(np.mean((rewards_PK == 1).any(axis=1))),
    )


def point(
    episodes: Sequence[Episode],
    problems: Sequence[Problem],
    reference: Reference | None,
    policy: PolicyEstimate,
) -> CurvePoint:
    """policy: pi-hat of the same problems under the same weights. Without a reference there is
    nothing to judge decisions by."""
    rewards = np.array([episode.reward for episode in episodes])
    chose_code = np.array([episode.decision == "code" for episode in episodes])
    selected = on_code = on_text = None
    if reference is not None:
        forced = [[record[d] for record in reference.of(problems)] for d in DECISIONS]
        selected = selection.judge(chose_code, *(np.array(forced) >= 0.5)).selection_accuracy
        favours_code = np.array([reference.better.get(p.stratum) == "code" for p in problems])
        on_code = tables.mean(policy.code[favours_code])
        on_text = tables.mean(policy.code[~favours_code])
    return CurvePoint(
        n=float(len(problems)),
        accuracy=tables.mean(rewards),
        accuracy_stderr=float(rewards.std() / math.sqrt(len(rewards))),
        code_rate=tables.mean(chose_code),
        selection_accuracy=selected,
        policy_code_on_code_favoured=on_code,
        policy_code_on_text_favoured=on_text,
        executions_per_problem=tables.mean([len(episode.executions) for episode in episodes]),
    )
