"""The whole configuration of a run: read, overridden, checked, written.

Each section is the frozen dataclass beside the stage that uses it. Precedence, lowest first:
the dataclass's default, the file an `extends:` names, the file itself, an experiment's arm, the
command line. Every refusal is a `BadInput` with file, line and field.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

from acim_jax.bad_input import BadInput
from acim_jax.config import schema
from acim_jax.config import stage as stage_config
from acim_jax.config import tree as config_tree
from acim_jax.config.schema import Refusal
from acim_jax.config.stage import StageConfig
from acim_jax.config.tree import Tree
from acim_jax.data.config import DataConfig
from acim_jax.environment.config import ExecutorConfig
from acim_jax.evaluation.config import EvaluationConfig
from acim_jax.explore.config import ExploreConfig
from acim_jax.grading.config import GraderConfig
from acim_jax.improve.config import ImproveConfig, WarmupConfig
from acim_jax.model.config import LoraConfig, ModelSource
from acim_jax.sampling.config import SamplingConfig
from acim_jax.section import AtLeastOne, NotNegative, section
from acim_jax.sharding.config import MeshConfig

Method = Literal["em", "rl", "sft"]
TrackerName = Literal["tensorboard", "wandb", "trackio"]
Overrides = Sequence[tuple[str, str]]


@section
class RunSettings:
    """How long the run is, and what is kept."""

    iterations: NotNegative = 20
    """EM (or RL) iterations after the warm-up."""
    checkpoint_every: AtLeastOne = 1
    """Iterations between two checkpoints; the last iteration always has one."""
    keep_checkpoints: AtLeastOne = 2
    """The newest so many are kept."""
    keep_rollouts: NotNegative = 0
    """Iterations, the newest, whose rollouts are kept with their log-probs (`rollouts/`), for
    `acim train --replay`; what `improve.max_staleness` needs is kept anyway."""
    trackers: tuple[TrackerName, ...] = ("tensorboard",)
    """Where metrics are mirrored to, beside metrics.jsonl: `tensorboard` (`events.*` in the run's
    folder), `wandb`, `trackio`; the latter two must be installed."""
    name: str = ""
    """Shown in reports; empty is the folder's name."""


@section
class RunConfig:
    """One run."""

    seed: NotNegative = 0
    """Of every draw but the generated problems."""
    method: Method = "em"
    """`em`, `rl` (the same loop without guides), or `sft` (the warm-up only)."""
    model: ModelSource = dataclasses.field(default_factory=ModelSource)
    lora: LoraConfig | None = None
    """Null trains the model itself; a mapping trains adapters to it, in all stages of the run."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    warmup: WarmupConfig = dataclasses.field(default_factory=WarmupConfig)
    explore: ExploreConfig = dataclasses.field(default_factory=ExploreConfig)
    improve: ImproveConfig = dataclasses.field(default_factory=ImproveConfig)
    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)
    executor: ExecutorConfig = dataclasses.field(default_factory=ExecutorConfig)
    grader: GraderConfig = dataclasses.field(default_factory=GraderConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)
    run: RunSettings = dataclasses.field(default_factory=RunSettings)
    stages: tuple[StageConfig, ...] = ()
    """Stages of the iterations, one after another. Empty is one stage without a name."""

    def __post_init__(self) -> None:
        if self.method == "rl" and self.explore.guided_rollouts:
            raise ValueError(
                "explore.guided_rollouts: plain RL has no guides; set it to 0 and "
                "explore.native_rollouts to the rollouts per problem, or use method: em."
            )
        if self.method == "em" and not self.explore.guided_rollouts:
            raise ValueError(
                "explore.guided_rollouts: EM explores both decisions; set it to 1 or more, or use "
                "method: rl."
            )
        if self.method == "sft" and self.run.iterations:
            raise ValueError(
                f"run.iterations: method sft is the warm-up only, but {self.run.iterations} "
                "iterations are asked for; set it to 0, or use method: em or rl."
            )
        if self.method != "sft":
            self._check_rollouts()
        self._check_demonstrations()
        self._check_stages()
        self._check_advantages()
        if self.lora is not None and self.model.init == "random":
            raise ValueError(
                "lora: adapters to random weights learn nothing; set model.init: pretrained, or "
                "leave lora out to train all weights."
            )
        if -1 not in (self.mesh.data, self.mesh.fsdp):
            self.check_shards(self.mesh.data * self.mesh.fsdp)

    @property
    def replays(self) -> bool:
        """Whether the M-step replays demonstrations."""
        return self.method != "sft" and self.improve.replay_weight > 0

    @property
    def has_reference(self) -> bool:
        """Whether training needs the model that iteration 1 begins with."""
        return self.method != "sft" and (self.improve.kl_weight > 0 or self.explore.reward_kl > 0)

    @property
    def recomputes(self) -> bool:
        """Whether some rows have no log-probs of the sampler."""
        return self.explore.reflections > 0 or self.explore.guide == "hint"

    @property
    def kept_rollouts(self) -> int:
        """Iterations whose rollouts stay on disk."""
        return max(self.run.keep_rollouts, self.improve.max_staleness)

    def _check_stages(self) -> None:
        if not self.stages:
            return
        if self.method == "sft":
            raise ValueError("stages: method sft is the warm-up only, which has no stages.")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stages must have distinct names, got {', '.join(names)}.")
        *earlier, last = self.stages
        if endless := [stage.name for stage in earlier if stage.iterations is None]:
            raise ValueError(
                f"stages: {endless[0]} must say after how many iterations, at the latest, the next "
                "stage begins."
            )
        if last.iterations or last.plateau:
            raise ValueError(
                f"stages: {last.name} is the last stage, which goes on to run.iterations: leave "
                "its iterations and plateau out."
            )
        before = sum(stage.iterations or 0 for stage in earlier)
        if before >= self.run.iterations:
            raise ValueError(
                f"stages: those before {last.name} take up to {before} iterations, but "
                f"run.iterations is {self.run.iterations}: the last stage would never begin."
            )

    def _check_demonstrations(self) -> None:
        for field, value, uses in (
            ("warmup.steps", self.warmup.steps, self.warmup.steps > 0),
            ("improve.replay_weight", self.improve.replay_weight, self.replays),
        ):
            if uses and not self.data.demonstrations:
                raise ValueError(
                    f"{field} is {value}, which takes demonstrations; name them in "
                    "data.demonstrations: a file (`acim demonstrate` makes one with the model), or "
                    "generated:arithmetic; or set it to 0."
                )

    def _check_advantages(self) -> None:
        """ValueError for rewards, advantages and log-probs that do not go together."""
        explore = self.explore
        if self.improve.advantage in ("exact_em", "maxrl") and (
            explore.reward_wrong or explore.overlong_buffer
        ):
            raise ValueError(
                f"improve.advantage: {self.improve.advantage} divides by the mean reward, which "
                "explore.reward_wrong and explore.overlong_buffer can make 0 or negative; leave "
                "both at 0, or choose another advantage."
            )
        if explore.reward_kl and self.improve.advantage not in ("centred", "rloo"):
            raise ValueError(
                f"explore.reward_kl: with improve.advantage {self.improve.advantage}, rollouts "
                "that are all right would be told apart by their KL alone, as if by success; set "
                "improve.advantage to centred or rloo, or use improve.kl_weight instead."
            )
        if explore.reward_kl and explore.guide == "hint":
            raise ValueError(
                "explore.reward_kl is over the log-probs of the sampler, and with explore.guide: "
                "hint these are of another prompt; use improve.kl_weight instead."
            )
        if self.improve.max_staleness and self.recomputes:
            raise ValueError(
                "improve.max_staleness: reflections and hinted rollouts have no log-probs of the "
                "policy that made them, so later iterations cannot weigh them; set it to 0."
            )

    def _check_rollouts(self) -> None:
        """ValueError for training rollouts that could not be trained on as they were sampled."""
        sampling, widest = self.sampling, self.improve.buckets[-1]
        if sampling.max_length > widest:
            raise ValueError(
                f"sampling.max_length is {sampling.max_length}, but the widest of improve.buckets "
                f"holds {widest} tokens: longer rollouts would be dropped. Widen improve.buckets "
                "or shorten sampling.max_length."
            )
        if sampling.top_k > 0 or sampling.top_p < 1 or sampling.min_p > 0:
            raise ValueError(
                "sampling.top_k, sampling.top_p and sampling.min_p truncate the distribution that "
                "rollouts are drawn from, but not the policy that is trained: its ratio to what "
                "was sampled would begin below 1, and below the band wrong answers are not "
                "unlearned. Leave them off (0, 1.0, 0.0) in training; evaluations take them."
            )

    def check_shards(self, shards: int) -> None:
        """ValueError for training rows that `shards` parts of the batch cannot share evenly."""
        for field, rows in (
            ("improve.microbatch_rows", self.improve.microbatch_rows),
            ("warmup.rows", self.warmup.rows),
        ):
            if rows % shards:
                raise ValueError(
                    f"{field} is {rows}, but this mesh splits rows into {shards} equal parts "
                    f"(data × fsdp); make it a multiple of {shards}, or change mesh."
                )


def load(path: Path, overrides: Overrides = ()) -> RunConfig:
    """The run config at `path`, with `("improve.lr", "1e-4")`-like overrides. Raises `BadInput`."""
    tree = config_tree.load_file(path)
    if "arms" in (tree.children or {}):
        raise BadInput(f"{path}: this is an experiment, it has `arms`: acim experiment {path}")
    config, refusals = validate(override(tree, overrides))
    if config is None:
        raise schema.refused(refusals)
    return config


def validate(tree: Tree, path: str = "") -> tuple[RunConfig | None, list[Refusal]]:
    """The config in `tree`, or None and what is wrong with it or with one of its stages."""
    config, refusals = schema.validate(RunConfig, tree, path)
    prefix = f"{path}." if path else ""
    for number, stage in enumerate(_staged(tree) if config is not None else ()):
        refusals += schema.validate(RunConfig, stage, f"{prefix}stages[{number}]")[1]
    return (None if refusals else config), refusals


def of_stages(config: RunConfig) -> list[RunConfig]:
    """The config of each stage: the run's, with the stage's own on top. Without stages the run's.

    Raises `BadInput` where one is none; `load` has seen to that.
    """
    if not config.stages:
        return [config]
    tree = config_tree.parse_text(dump(config), "config")
    return [schema.build(RunConfig, stage, f"stages[{n}]") for n, stage in enumerate(_staged(tree))]


def _staged(tree: Tree) -> list[Tree]:
    """What the stages make of a run's tree."""
    fields = dict(tree.children or {})
    stages = fields.pop("stages", Tree([], tree.where))
    base = Tree(fields, tree.where)
    return [
        config_tree.merge(
            base,
            Tree(
                {k: v for k, v in (one.children or {}).items() if k in stage_config.SECTIONS},
                one.where,
            ),
        )
        for one in stages.elements or ()
    ]


def dump(config: RunConfig) -> str:
    """YAML with every field written out; `load` of it gives an equal config."""
    return config_tree.dump(plain(config))


def plain(config: RunConfig) -> dict[str, object]:
    """Every field as scalars, lists and mappings: what `dump` writes."""
    return cast(dict[str, object], schema.plain(config))


def override(tree: Tree, overrides: Overrides) -> Tree:
    """`tree` with the overrides on top. An empty document says: all defaults."""
    tree = tree._replace(value={}) if tree.value is None else tree
    for name, text in overrides:
        tree = config_tree.place(tree, name.split("."), config_tree.parse_option(name, text))
    return tree
