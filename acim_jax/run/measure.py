"""Evaluations within a run: the full one at its start and end, and the points of its curve."""

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acim_jax import em
from acim_jax.checkpoint.model_folder import ModelFolder
from acim_jax.em import Resources
from acim_jax.evaluation import episode_rows, evaluate, selection
from acim_jax.evaluation.episode_rows import Judged
from acim_jax.explore.decisions import PolicyEstimate
from acim_jax.files import atomic, jsonl
from acim_jax.improve.state import TrainState
from acim_jax.model import transformer
from acim_jax.records import DECISIONS, GUIDES, DecisionName, Guide, Problem, SamplingParams
from acim_jax.run.preparation import Prepared

Done = Callable[[], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """What the starting checkpoint can do, by forced runs: rewards per problem of each decision,
    and the better decision of each stratum on the validation problems."""

    text: Mapping[str, float]
    code: Mapping[str, float]
    by_stratum: Mapping[str, DecisionName]

    def favours_code(self, problem: Problem) -> bool:
        return self.by_stratum.get(problem.stratum) == "code"


def _rollouts(
    params: transformer.Params,
    problems: Sequence[Problem],
    guides: Sequence[Guide],
    resources: Resources,
    on_done: Done,
) -> dict[str, list[Any]]:
    wanted = [
        request
        for guide in guides
        for request in evaluate.requests(problems, guide, resources.sampler, 1)
    ]
    episodes = evaluate.rollouts(
        params,
        wanted,
        resources.sampler,
        resources.executor,
        resources.grader,
        sampling=SamplingParams(0.0),
        seed=resources.config.seed,
        on_done=on_done,
    )
    return {guide: [e for e in episodes if e.guide == guide] for guide in guides}


def full_size(test: Sequence[Problem], validation: Sequence[Problem]) -> int:
    """How many rollouts `full` makes."""
    return len(GUIDES) * len(test) + len(DECISIONS) * len(validation)


def full(
    state: TrainState,
    resources: Resources,
    model: ModelFolder,
    test: Sequence[Problem],
    validation: Sequence[Problem],
    folder: Path,
    *,
    on_done: Done = lambda: None,
) -> dict[str, Any]:
    """Native, forced-text and forced-code runs of the test problems, forced runs of the validation
    problems, at temperature 0. Writes the folder and returns its results.json."""
    started = time.perf_counter()
    sampling_params = resources.learner.sampling_params(state.params, resources.sampler.layout)
    on_test = _rollouts(sampling_params, test, GUIDES, resources, on_done)
    on_validation = _rollouts(sampling_params, validation, DECISIONS, resources, on_done)
    folder.mkdir(parents=True, exist_ok=True)
    rows = {
        name: [
            episode_rows.episode_row(e, model.tokenizer, file=name)
            for group in groups.values()
            for e in group
        ]
        for name, groups in (("test", on_test), ("validation", on_validation))
    }
    test_rows = _problem_rows(test, on_test, em.policy(state, test, resources))
    validation_rows = _problem_rows(
        validation, on_validation, em.policy(state, validation, resources)
    )
    jsonl.write(folder / "episodes.jsonl", rows["test"])
    jsonl.write(folder / "problems.jsonl", test_rows)
    jsonl.write(folder / "validation.jsonl", validation_rows)
    _write_json(folder / "strata.json", strata(test_rows))
    data = {name: _data_table([Judged.of_row(row) for row in rows[name]]) for name in rows}
    results = {
        "model": model.name,
        "data": data,
        "config": {"data": dataclasses.asdict(resources.config.data), "temperature": 0.0},
        "seed": resources.config.seed,
        "seconds": time.perf_counter() - started,
    }
    _write_json(folder / "results.json", results)
    return results


def _data_table(judged: Sequence[Judged]) -> dict[str, Any]:
    by_guide = {guide: [j for j in judged if j.guide == guide] for guide in GUIDES}
    table: dict[str, Any] = {
        guide: evaluate.guide_table(group, 1) for guide, group in by_guide.items() if group
    }
    if all(by_guide.values()):
        table["decisions"] = evaluate.decisions_table(by_guide, by_guide)
    return table


def _problem_rows(
    problems: Sequence[Problem], groups: Mapping[str, Sequence[Any]], policy: PolicyEstimate
) -> list[dict[str, Any]]:
    """One row a problem: rewards by guide, the decision taken, π̂(code|x) and the prefixes' mass."""
    rows = []
    for i, problem in enumerate(problems):
        row: dict[str, Any] = {
            "problem_id": problem.id,
            "stratum": problem.stratum,
            "family": problem.subject,
            "level": problem.level,
            "policy_code": float(policy.policy[i, DECISIONS.index("code")]),
            "mass": float(policy.mass[i]),
            "native": None,
            "decision": None,
        }
        for guide, episodes in groups.items():
            row[guide] = episodes[i].reward
            if guide == "native":
                row["decision"] = episodes[i].decision
        rows.append(row)
    return rows


def strata(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means per family and level, in the order of first appearance sorted by name."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["stratum"], []).append(row)
    table = []
    for stratum, group in sorted(groups.items()):
        mean = lambda key, group=group: float(np.mean([row[key] for row in group]))  # noqa: E731
        entry: dict[str, Any] = {
            "stratum": stratum,
            "family": group[0]["family"],
            "level": group[0]["level"],
            "n": len(group),
        }
        for decision in DECISIONS:
            value = mean(decision)
            entry[decision] = value
            entry[f"{decision}_stderr"] = math.sqrt(value * (1.0 - value) / len(group))
        entry |= {"policy_code": mean("policy_code"), "mass": mean("mass")}
        if all(row["native"] is not None for row in group):
            entry["native"] = mean("native")
            entry["code_rate"] = float(np.mean([row["decision"] == "code" for row in group]))
        table.append(entry)
    return table


def reusable_start(prepared: Prepared) -> Path | None:
    """The final evaluation of the run whose last checkpoint this run starts from, if it was made
    on the same problems: evaluating the same weights again would tell nothing new."""
    run = prepared.model.run
    if run is None or prepared.config.warmup.steps > 0:
        return None
    folder = run / "evaluation" / "final"
    if not (folder / "results.json").is_file():
        return None
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    same = json.loads(json.dumps(dataclasses.asdict(prepared.config.data)))
    return folder if results["config"]["data"] == same else None


def copy(source: Path, target: Path) -> None:
    """Copies an evaluation folder; results.json last, so that a cut copy is seen as one."""
    target.mkdir(parents=True, exist_ok=True)
    names = sorted((p.name for p in source.iterdir()), key=lambda name: name == "results.json")
    for name in names:
        shutil.copyfile(source / name, target / name)


def read_reference(folder: Path, validation: Sequence[Problem]) -> Reference:
    """The starting checkpoint's forced runs on the validation problems."""
    rows = {row["problem_id"]: row for _, row in jsonl.read(folder / "validation.jsonl")}
    text = {problem.id: float(rows[problem.id]["text"]) for problem in validation}  # pyright: ignore[reportArgumentType]
    code = {problem.id: float(rows[problem.id]["code"]) for problem in validation}  # pyright: ignore[reportArgumentType]
    strata = [problem.stratum for problem in validation]
    by_stratum = selection.better_decisions(strata, list(text.values()), list(code.values()))
    return Reference(text, code, by_stratum)


def starting_lines(problems: Sequence[Problem], reference: Reference) -> dict[str, float]:
    """Always-text, always-code and the oracle of the starting checkpoint."""
    text = [reference.text[p.id] for p in problems]
    code = [reference.code[p.id] for p in problems]
    strata = [problem.stratum for problem in problems]
    oracle = selection.oracle_rewards(strata, text, code, reference.by_stratum)
    return {
        "eval/always_text": float(np.mean(text)),
        "eval/always_code": float(np.mean(code)),
        "eval/oracle": float(np.mean(oracle)),
    }


def curve_point(
    state: TrainState,
    resources: Resources,
    problems: Sequence[Problem],
    reference: Reference,
    *,
    on_done: Done = lambda: None,
) -> dict[str, float | None]:
    """Native greedy runs, judged by the starting checkpoint's forced runs on the same problems."""
    episodes = _rollouts(
        resources.learner.sampling_params(state.params, resources.sampler.layout),
        problems,
        ("native",),
        resources,
        on_done,
    )["native"]
    policy = em.policy(state, problems, resources).policy[:, DECISIONS.index("code")]
    rewards = np.array([e.reward for e in episodes])
    chose_code = np.array([e.decision == "code" for e in episodes])
    judged = selection.judge(
        chose_code,
        np.array([reference.text[p.id] >= 0.5 for p in problems]),
        np.array([reference.code[p.id] >= 0.5 for p in problems]),
    )
    favours_code = np.array([reference.favours_code(p) for p in problems])
    mean = lambda values: float(np.mean(values)) if len(values) else None  # noqa: E731
    return {
        "eval/n": float(len(problems)),
        "eval/accuracy": mean(rewards),
        "eval/accuracy_stderr": float(rewards.std() / math.sqrt(len(rewards))),
        "eval/code_rate": mean(chose_code),
        "eval/selection_accuracy": judged.selection_accuracy,
        "eval/policy_code_on_code_favoured": mean(policy[favours_code]),
        "eval/policy_code_on_text_favoured": mean(policy[~favours_code]),
        "eval/executions_per_problem": mean([len(e.executions) for e in episodes]),
    }


def _write_json(path: Path, content: Any) -> None:
    atomic.write_text(path, json.dumps(content, indent=1, default=list) + "\n")
