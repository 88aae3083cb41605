"""The whole configuration of a run, and of an experiment: read, overridden, checked, written.

Each section is the frozen dataclass beside the stage that uses it. Precedence, lowest first:
the dataclass's default, the file an `extends:` names, the file itself, an experiment's arm, the
command line. Every refusal is a `BadInput` with file, line and field.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from acim_jax.bad_input import BadInput as BadInput
from acim_jax.config import schema
from acim_jax.config import tree as config_tree
from acim_jax.config.tree import Tree
from acim_jax.data.config import DataConfig
from acim_jax.environment.config import ExecutorConfig
from acim_jax.evaluation.config import EvaluationConfig
from acim_jax.explore.config import ExploreConfig
from acim_jax.grading.config import GraderConfig
from acim_jax.improve.config import ImproveConfig, WarmupConfig
from acim_jax.model.config import LoraConfig, ModelSource
from acim_jax.sampling.config import SamplingConfig
from acim_jax.sharding.config import MeshConfig

Method = Literal["em", "rl", "sft"]
Overrides = Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """The `run` section: how long, and what is kept.

    iterations: EM (or RL) iterations after the warm-up. checkpoint_every: iterations between two
    checkpoints; the last iteration always has one. keep_checkpoints: the newest so many are kept.
    tensorboard: mirror the metrics to `events.*`. name: shown in reports; empty: the folder's.
    """

    iterations: int = 20
    checkpoint_every: int = 1
    keep_checkpoints: int = 2
    tensorboard: bool = True
    name: str = ""

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise ValueError(f"iterations must not be negative, got {self.iterations}.")
        for field in ("checkpoint_every", "keep_checkpoints"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, got {getattr(self, field)}.")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """One run. `method`: `em`, `rl` (the same program without guides), or `sft` (warm-up only).

    lora: train adapters to the model, in all of the run's stages, and not the model itself.
    """

    seed: int = 0
    method: Method = "em"
    model: ModelSource = dataclasses.field(default_factory=ModelSource)
    lora: LoraConfig | None = None
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

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}.")


@dataclasses.dataclass(frozen=True)
class Arm:
    """One arm of an experiment: `runs` holds its config for every seed."""

    label: str
    runs: Mapping[int, RunConfig]


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Named arms × seeds; every arm has the same seeds."""

    name: str
    seeds: tuple[int, ...]
    arms: Mapping[str, Arm]


@dataclasses.dataclass(frozen=True)
class _Head:
    """The fields of an experiment file; `base` and the arms are read once they are merged."""

    arms: Mapping[str, Mapping[str, object] | None]
    base: Mapping[str, object] = dataclasses.field(default_factory=dict[str, object])
    seeds: tuple[int, ...] = (0, 1, 2)
    name: str = ""

    def __post_init__(self) -> None:
        if not self.arms:
            raise ValueError("arms: an experiment needs at least one arm.")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds must be distinct and not negative, got {list(self.seeds)}.")


def load(path: str | Path, overrides: Overrides = ()) -> RunConfig:
    """The run config at `path`, with `("improve.lr", "1e-4")`-like overrides. Raises `BadInput`."""
    tree = config_tree.load_file(Path(path))
    return schema.build(RunConfig, _override(_or_empty(tree), overrides))


def loads(text: str, source: str = "config.yaml", overrides: Overrides = ()) -> RunConfig:
    """`load` from YAML text; `extends` is relative to the working folder."""
    tree = config_tree.resolve_extends(config_tree.parse_text(text, source), Path())
    return schema.build(RunConfig, _override(_or_empty(tree), overrides))


def dump(config: RunConfig) -> str:
    """YAML with every field written out; `load` of it gives an equal config."""
    return config_tree.dump(schema.plain(config))


def load_experiment(
    path: str | Path, seeds: int | None = None, overrides: Overrides = ()
) -> ExperimentConfig:
    """The experiment at `path`: `{name, seeds, base, arms: {NAME: {label, ...}}}`.

    `base` and each arm have the shape of a run config, and may `extends:` one; an arm is merged
    over the base, `overrides` over both. seeds: take so many instead of the file's: its first
    ones, then counted up from its largest. Raises `BadInput`.
    """
    path = Path(path)
    tree = config_tree.load_file(path)
    head = schema.build(_Head, tree)
    fields = tree.children or {}
    base = config_tree.resolve_extends(fields.get("base", Tree({}, tree.where)), path.parent)
    chosen = _first_seeds(head.seeds, len(head.seeds) if seeds is None else seeds)
    arms = {
        name: _arm(name, base, _or_empty(arm), path.parent, chosen, overrides)
        for name, arm in (fields["arms"].children or {}).items()
    }
    return ExperimentConfig(head.name or path.stem, chosen, arms)


def dump_experiment(experiment: ExperimentConfig) -> str:
    """YAML with every arm written out; `load_experiment` of it gives an equal experiment."""
    arms: dict[str, object] = {}
    for name, arm in experiment.arms.items():
        fields = schema.plain(arm.runs[experiment.seeds[0]])
        assert isinstance(fields, dict)
        del fields["seed"]
        arms[name] = {"label": arm.label, **fields}
    return config_tree.dump(
        {"name": experiment.name, "seeds": list(experiment.seeds), "arms": arms}
    )


def _override(tree: Tree, overrides: Overrides) -> Tree:
    for name, text in overrides:
        tree = config_tree.place(tree, name.split("."), config_tree.parse_option(name, text))
    return tree


def _or_empty(tree: Tree) -> Tree:
    """An empty document or section says: all defaults."""
    return tree._replace(value={}) if tree.value is None else tree


def _first_seeds(seeds: tuple[int, ...], count: int) -> tuple[int, ...]:
    if count < 1:
        raise BadInput(f"an experiment needs at least one seed, got {count}")
    further = range(max(seeds) + 1, max(seeds) + 1 + max(count - len(seeds), 0))
    return (*seeds[:count], *further)


def _arm(
    name: str, base: Tree, own: Tree, folder: Path, seeds: tuple[int, ...], overrides: Overrides
) -> Arm:
    """One arm of an experiment: `own` over `base`, `overrides` over both, for every seed."""
    path = f"arms.{name}"
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name) is None:
        raise BadInput(
            f"{own.where}: {path}: an arm's name becomes a folder's: use small letters, digits, "
            "_ and -"
        )
    fields = dict(config_tree.resolve_extends(own, folder).children or {})
    label = fields.pop("label", Tree(name, own.where))
    if not isinstance(label.value, str):
        raise BadInput(
            f"{label.where}: {path}.label: expected a string, got {schema.describe(label)}"
        )
    merged = _override(config_tree.merge(base, Tree(fields, own.where)), overrides)
    if "seed" in (merged.children or {}):
        where = (merged.children or {})["seed"].where
        raise BadInput(f"{where}: {path}.seed: the experiment's `seeds` sets it; leave it out")
    config = schema.build(RunConfig, merged, path)
    return Arm(label.value, {seed: dataclasses.replace(config, seed=seed) for seed in seeds})
