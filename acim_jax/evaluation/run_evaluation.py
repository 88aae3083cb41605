"""The evaluation at the start or end of a run, and what its folder holds beyond `acim evaluate`.

problems.jsonl     one record per test problem: rewards by guide, decision, pi-hat and mass
validation.jsonl   the same of the validation problems, which are not run natively
strata.json        means of the test problems of each stratum
"""

import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acim_jax.evaluation import pipeline, results_folder
from acim_jax.evaluation.episode_records import ByGuide, Judgements
from acim_jax.evaluation.pipeline import Bar, Settings, Task
from acim_jax.evaluation.rollouts import Solver
from acim_jax.explore.decisions import PolicyEstimate
from acim_jax.files import jsonl
from acim_jax.records import DECISIONS, GUIDES, Problem, SamplingParams, group_by

log = logging.getLogger(__name__)

TEST, VALIDATION = "test", "validation"
PROBLEMS, STRATA = "problems.jsonl", "strata.json"
VALIDATION_PROBLEMS = "validation.jsonl"

#: Settings that decide no number of a greedy evaluation of the same weights.
_WITHOUT_EFFECT = ("model", "step", "seed")


def task(test: Sequence[Problem], validation: Sequence[Problem], *, seed: int) -> Task:
    """Greedy runs: native and forced ones of the test problems, forced ones for validation."""
    return Task(
        problems={TEST: test, VALIDATION: validation},
        guides={TEST: GUIDES, VALIDATION: DECISIONS},
        samples=1,
        sampling=SamplingParams(0.0),
        seed=seed,
    )


def run(
    solver: Solver,
    task: Task,
    folder: Path,
    settings: Settings,
    *,
    policies: Mapping[str, PolicyEstimate],
    bar: Bar,
) -> dict[str, Any]:
    """Writes the folder, going on with what an interrupted call left, and returns its results.json.

    policies: pi-hat of the task's problems, by the same names. What stands in the folder with other
    settings (the warm-up ended with other bits on other hardware, say) is removed.
    """
    try:
        results_folder.check(folder, settings)
    except ValueError as error:
        log.warning("%s is evaluated anew: %s", folder, error)
        shutil.rmtree(folder)

    def write_more(judged: Judgements) -> None:
        test, validation = (
            _problem_records(task.problems[name], judged[name], policies[name])
            for name in (TEST, VALIDATION)
        )
        jsonl.write(folder / PROBLEMS, test)
        jsonl.write(folder / VALIDATION_PROBLEMS, validation)
        results_folder.write_json(folder / STRATA, strata(test))

    return pipeline.run(solver, task, folder, settings, bar=bar, write_more=write_more)


def copied(source: Path, folder: Path, settings: Settings) -> bool:
    """Copies a finished evaluation of the same weights under the same settings; whether there was
    one in `source`. results.json comes last, so that half a copy does not pass for a whole one."""
    wanted = {key: value for key, value in settings.items() if key not in _WITHOUT_EFFECT}
    if not results_folder.is_finished(source, wanted):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = [path for path in source.iterdir() if not path.name.startswith(".")]
    for path in sorted(files, key=lambda path: path.name == results_folder.RESULTS):
        shutil.copyfile(path, folder / path.name)
    return True


def _problem_records(
    problems: Sequence[Problem], judged: ByGuide, policy: PolicyEstimate
) -> list[dict[str, Any]]:
    return [
        {
            "problem_id": problem.id,
            "stratum": problem.stratum,
            "family": problem.subject,
            "level": problem.level,
            "policy_code": float(policy.code[i]),
            "mass": float(policy.mass[i]),
            "native": None,
            "decision": judged["native"][i].decision if "native" in judged else None,
            **{guide: of_guide[i].reward for guide, of_guide in judged.items()},
        }
        for i, problem in enumerate(problems)
    ]


def strata(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means over the test problems of each stratum, in the order of their names.

    The standard error is the binomial one: rewards of math problems are 0 or 1.
    """
    groups = group_by(records, lambda record: record["stratum"])
    return [_stratum(name, group) for name, group in sorted(groups.items())]


def _stratum(name: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    n = len(records)
    keys = (*DECISIONS, "policy_code", "mass", "native")
    mean = {key: float(np.mean([record[key] for record in records])) for key in keys}
    spread = {f"{d}_stderr": math.sqrt(mean[d] * (1.0 - mean[d]) / n) for d in DECISIONS}
    return {
        "stratum": name,
        "family": records[0]["family"],
        "level": records[0]["level"],
        "n": n,
        **mean,
        **spread,
        "code_rate": float(np.mean([record["decision"] == "code" for record in records])),
    }
