"""A run's input, read and checked before anything is written."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from acim_jax import own_code
from acim_jax.checkpoint import model_folder
from acim_jax.checkpoint.model_folder import ModelFolder
from acim_jax.config import run as run_config
from acim_jax.config.run import RunConfig
from acim_jax.data import levels, own_data, problems
from acim_jax.data.config import DataConfig
from acim_jax.environment import tools
from acim_jax.evaluation import difficulty
from acim_jax.explore import curriculum
from acim_jax.grading import golds, own_reward
from acim_jax.markup import form, prefix_rows
from acim_jax.model import lora
from acim_jax.records import Problem
from acim_jax.run import demonstrations, stages, trackers
from acim_jax.sharding import mesh

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """The input of a run, or of one of its stages. curve: the validation problems of the training
    curve. demonstrations: how many show which decision, in words; those of a generator show both in
    turn, without an end. parts: of a run with stages, each of them; the run's own training problems
    are those of the first."""

    config: RunConfig
    model: ModelFolder
    train: list[Problem]
    validation: list[Problem]
    test: list[Problem]
    demonstrations: str
    parts: tuple["Prepared", ...] = ()

    @property
    def stages(self) -> tuple["Prepared", ...]:
        """The run itself, where its config names none."""
        return self.parts or (self,)

    @property
    def curve(self) -> list[Problem]:
        return spread(self.validation, self.config.evaluation.curve_problems)

    @property
    def problems(self) -> list[Problem]:
        train = [problem for stage in self.stages for problem in stage.train]
        return [*train, *self.validation, *self.test]

    @property
    def rollouts_per_iteration(self) -> int:
        explore = self.config.explore
        return explore.rollouts_per_problem * min(explore.problems, len(self.train))

    @property
    def data_files(self) -> list[Path]:
        data = self.config.data
        train = {name for stage in self.stages for name in stage.config.data.train}
        names = {*train, *data.validation, *data.test, data.demonstrations or ""}
        named = {self.config.grader.reward, *self.config.executor.tools}
        own = {*named, *filter(own_data.is_one, names)} - {""}
        files = {own_code.split(spec)[0] for spec in own}
        return sorted(files | {Path(name) for name in names if Path(name).is_file()})


def spread(problems: Sequence[Problem], count: int | None) -> list[Problem]:
    """`count` problems at even distances, so that every source has its share; None is all."""
    if count is None or count >= len(problems):
        return [*problems]
    return [problems[i * len(problems) // count] for i in range(count)]


def prepare(config: RunConfig) -> Prepared:
    """Reads and checks everything a run needs; raises ValueError or FileNotFoundError."""
    trackers.check(config.run.trackers)
    own_reward.find(config.grader.reward)
    model = model_folder.open_model(config.model)
    specs = config.executor.tools
    markup = form.with_tools(model.markup, tools.listed(specs), tools.schemas(specs))
    model = dataclasses.replace(model, markup=markup)
    stages.check(config)
    chosen = run_config.of_stages(config)
    names = [f"train, stage {stage.name}" for stage in config.stages] or ["train"]
    data = {name: _train(one.data) for name, one in zip(names, chosen, strict=True)}
    data |= {split: problems.load_split(config.data, split) for split in ("validation", "test")}
    if not config.grader.reward:  # an own reward may read its references otherwise
        data = golds.usable(data)
    *trains, validation, test = data.values()
    shown = demonstrations.check(config, model)
    if config.lora is not None:
        lora.check(config.lora, model.config)
    parts: list[Prepared] = []
    for own, train in zip(chosen, trains, strict=True):
        curriculum.check_mix(train, own.explore)
        parts.append(Prepared(own, model, train, validation, test, shown))
    whole = parts[0]
    if config.stages:
        whole = dataclasses.replace(whole, config=config, parts=tuple(parts))
        for own in chosen:
            demonstrations.check(own, model)
    for one in (whole, *whole.parts):
        _check_lengths(one)
        check_rows(one.config)
    return whole


def _train(config: DataConfig) -> list[Problem]:
    """The training problems, those that `data.where` leaves."""
    train = problems.load_split(config, "train")
    if not config.where:
        return train
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
