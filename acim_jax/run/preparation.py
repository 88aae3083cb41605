"""A run's input, read and checked before anything is written."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from acim_jax.checkpoint import model_folder
from acim_jax.checkpoint.model_folder import ModelFolder
from acim_jax.config.run import RunConfig
from acim_jax.data import generated, levels, problems
from acim_jax.data.config import DataConfig
from acim_jax.evaluation import difficulty
from acim_jax.explore import curriculum
from acim_jax.grading import golds
from acim_jax.markup import prefix_rows
from acim_jax.model import lora
from acim_jax.records import Problem
from acim_jax.run import demonstrations, trackers
from acim_jax.sharding import mesh

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """A run's input. curve: the validation problems of the training curve. demonstrations: how many
    show which decision, in words; those of a generator show both in turn, without an end."""

    config: RunConfig
    model: ModelFolder
    train: list[Problem]
    validation: list[Problem]
    test: list[Problem]
    demonstrations: str

    @property
    def curve(self) -> list[Problem]:
        return spread(self.validation, self.config.evaluation.curve_problems)

    @property
    def problems(self) -> list[Problem]:
        return [*self.train, *self.validation, *self.test]

    @property
    def rollouts_per_iteration(self) -> int:
        explore = self.config.explore
        return explore.rollouts_per_problem * min(explore.problems, len(self.train))

    @property
    def data_files(self) -> list[Path]:
        data = self.config.data
        names = {*data.train, *data.validation, *data.test, data.demonstrations}
        return sorted(Path(name) for name in names if name and Path(name).is_file())


def spread(problems: Sequence[Problem], count: int | None) -> list[Problem]:
    """`count` problems at even distances, so that every source has its share; None is all."""
    if count is None or count >= len(problems):
        return [*problems]
    return [problems[i * len(problems) // count] for i in range(count)]


def prepare(config: RunConfig) -> Prepared:
    """Reads and checks everything a run needs; raises ValueError or FileNotFoundError."""
    trackers.check(config.run.trackers)
    model = model_folder.open_model(config.model)
    data = {split: problems.load_split(config.data, split) for split in generated.SPLITS}
    data["train"] = _chosen(config.data, data["train"])
    train, validation, test = golds.usable(data).values()
    curriculum.check_mix(train, config.explore)
    shown = demonstrations.check(config, model)
    prepared = Prepared(config, model, train, validation, test, shown)
    if config.lora is not None:
        lora.check(config.lora, model.config)
    _check_lengths(prepared)
    check_rows(config)
    return prepared


def _chosen(config: DataConfig, train: Sequence[Problem]) -> list[Problem]:
    """The training problems that `data.where` leaves."""
    if not config.where:
        return [*train]
    conditions = levels.conditions(config.where, "data.where")
    chosen = difficulty.choose(
        train, conditions, keep_unsolved=config.keep_unsolved, seed=config.seed
    )
    log.info("data.where takes %d of %d training problems", len(chosen.problems), len(train))
    if chosen.unsolved:
        log.info("%d that %s never solves are discarded", chosen.unsolved, chosen.strongest)
    return chosen.problems


def _check_lengths(prepared: Prepared) -> None:
    config, model = prepared.config, prepared.model
    prompts = (model.tokenizer.prompt_ids(p.question, model.markup) for p in prepared.train)
    width = max(map(len, prompts), default=0)
    width += prefix_rows.longest_prefix(model.tokenizer, model.markup)
    if width >= config.sampling.max_length:
        raise ValueError(
            f"sampling.max_length is {config.sampling.max_length}, but the longest training prompt "
            f"with its decision prefix takes {width} tokens; raise it to leave room for a response."
        )
    if model.config.max_positions < config.sampling.max_length:
        raise ValueError(
            f"sampling.max_length is {config.sampling.max_length}; the model was made for at most "
            f"{model.config.max_positions} positions."
        )


def check_rows(config: RunConfig) -> None:
    """ValueError, naming the field, for rows that the mesh's batch axes cannot share evenly."""
    train, sample = (1 if one is None else one.shards("batch") for one in mesh.layouts(config.mesh))
    config.sampling.check_shards(sample)
    config.check_shards(train)
