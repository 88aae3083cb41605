"""The configuration of an experiment, `{name, seeds, base, arms: {NAME: {label, ...}}}`.

`base` and each arm have the shape of a run config, and may `extends:` one; an arm is merged over
the base, the command line over both.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acim_jax.bad_input import BadInput
from acim_jax.config import run, schema
from acim_jax.config import tree as config_tree
from acim_jax.config.run import Overrides, RunConfig
from acim_jax.config.schema import Refusal
from acim_jax.config.tree import Tree
from acim_jax.section import section


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


@section
class _Head:
    """The fields of an experiment file; `base` and the arms are read once they are merged."""

    arms: Mapping[str, Mapping[str, Any] | None]
    base: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    seeds: tuple[int, ...] = (0, 1, 2)
    name: str = ""

    def __post_init__(self) -> None:
        if not self.arms:
            raise ValueError("arms: an experiment needs at least one arm.")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds must be distinct and not negative, got {list(self.seeds)}.")


def load(path: Path, seeds: int | None = None, overrides: Overrides = ()) -> ExperimentConfig:
    """The experiment at `path`. Raises `BadInput`.

    seeds: take so many instead of the file's: its first ones, then counted up from its largest.
    """
    tree = config_tree.load_file(path)
    fields = tree.children or {}
    if fields and not {"arms", "base", "seeds"} & fields.keys():
        raise BadInput(f"{path}: this is a run's config, it has no `arms`: acim train {path}")
    head = schema.build(_Head, tree)
    base = config_tree.resolve_extends(fields.get("base", Tree({}, tree.where)), path.parent)
    chosen = _first_seeds(head.seeds, len(head.seeds) if seeds is None else seeds)
    arms: dict[str, Arm] = {}
    refusals: dict[tuple[str, str], Refusal] = {}
    for name, own in (fields["arms"].children or {}).items():
        label, merged = _merged(name, base, run.override(own, ()), path.parent, overrides)
        config, refused = run.validate(merged, f"arms.{name}")
        for refusal in refused:  # what is wrong in `base` is so in every arm
            refusals.setdefault((refusal.where, refusal.message), refusal)
        if config is not None:
            arms[name] = Arm(label, {s: dataclasses.replace(config, seed=s) for s in chosen})
    if refusals:
        raise schema.refused(list(refusals.values()))
    return ExperimentConfig(head.name or path.stem, chosen, arms)


def dump(experiment: ExperimentConfig) -> str:
    """YAML with every arm written out; `load` of it gives an equal experiment."""
    arms: dict[str, object] = {}
    for name, arm in experiment.arms.items():
        fields = schema.plain(arm.runs[experiment.seeds[0]])
        assert isinstance(fields, dict)
        del fields["seed"]
        arms[name] = {"label": arm.label, **fields}
    return config_tree.dump(
        {"name": experiment.name, "seeds": list(experiment.seeds), "arms": arms}
    )


def _first_seeds(seeds: tuple[int, ...], count: int) -> tuple[int, ...]:
    if count < 1:
        raise BadInput(f"an experiment needs at least one seed, got {count}")
    further = range(max(seeds) + 1, max(seeds) + 1 + max(count - len(seeds), 0))
    return (*seeds[:count], *further)


def _merged(
    name: str, base: Tree, own: Tree, folder: Path, overrides: Overrides
) -> tuple[str, Tree]:
    """The label of an arm, and its config: `own` over `base`, `overrides` over both."""
    path = f"arms.{name}"
    if re.fullmatch(r"(?!warmup)[a-z0-9][a-z0-9_-]*", name) is None:
        raise BadInput(
            f"{own.where}: {path}: an arm's name becomes a folder's: use small letters, digits, "
            "_ and -, and begin it with another word than warmup"
        )
    fields = dict(config_tree.resolve_extends(own, folder).children or {})
    label = fields.pop("label", Tree(name, own.where))
    if not isinstance(label.value, str):
        raise BadInput(
            f"{label.where}: {path}.label: expected a string, got {schema.describe(label)}"
        )
    merged = run.override(config_tree.merge(base, Tree(fields, own.where)), overrides)
    if seed := (merged.children or {}).get("seed"):
        raise BadInput(f"{seed.where}: {path}.seed: the experiment's `seeds` sets it; leave it out")
    return label.value, merged
