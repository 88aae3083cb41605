"""Forced runs of another evaluation, by which `acim evaluate --oracle` judges decisions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from acim_jax.evaluation import results_folder
from acim_jax.evaluation.episode_records import Judged
from acim_jax.evaluation.tables import ByGuide, Judgements
from acim_jax.files import jsonl
from acim_jax.records import DECISIONS, Problem


def read(path: Path, data: Mapping[str, Sequence[Problem]]) -> Judgements:
    """The forced runs in the folder `path`, for the files in `data`.

    A file is found by its name as it was given there, else by its last part. FileNotFoundError
    without episodes.jsonl; ValueError where a problem's text or code run is missing.
    """
    judged = _read(path / results_folder.EPISODES)
    found: dict[str, ByGuide] = {}
    for file, problems in data.items():
        same = [name for name in judged if name == file] or [
            name for name in judged if Path(name).name == Path(file).name
        ]
        if len(same) != 1:
            raise ValueError(
                f"--oracle {path}: needed the runs of {file!r} once, it has {sorted(judged)}."
            )
        found[file] = judged[same[0]]
        for decision in DECISIONS:
            have = {one.problem_id for one in found[file].get(decision, ())}
            lacking = [problem.id for problem in problems if problem.id not in have]
            if lacking:
                raise ValueError(
                    f"--oracle {path}: {file!r} lacks {decision} runs of {len(lacking)} problems, "
                    f"e.g. {lacking[0]!r}; make them with --decision text code."
                )
    return found


def _read(episodes: Path) -> dict[str, dict[str, list[Judged]]]:
    judged: dict[str, dict[str, list[Judged]]] = {}
    for number, record in jsonl.read(episodes):
        try:
            one = Judged.of_record(record)
            judged.setdefault(str(record["file"]), {}).setdefault(one.guide, []).append(one)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{episodes}:{number}: not an episode, {error!r}.") from error
    return judged
