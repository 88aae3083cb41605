"""What a page is made of: sections of panels, each a plot with its title, and legends."""

import dataclasses
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from acim_jax.report import figures
from acim_jax.report.data import Experiment, Run


@dataclasses.dataclass(frozen=True)
class Panel:
    """One plot. `wide` takes the whole row."""

    title: str
    figure: go.Figure
    height: int = 300
    wide: bool = False


@dataclasses.dataclass(frozen=True)
class Key:
    """One entry of a legend: `style` is line, dash, dot, dashdot, thin, band or box."""

    label: str
    colour: str
    style: str


@dataclasses.dataclass(frozen=True)
class Section:
    """`views`: arm label → panels; more than one view gets a selector. '' holds for all arms."""

    slug: str
    nav: str
    title: str
    text: str
    views: Mapping[str, Sequence[Panel]]
    legend: Sequence[Key] = ()
    notes: Sequence[str] = ()


def arms(experiment: Experiment) -> list[tuple[str, str, Sequence[Run]]]:
    """(label, colour, runs) of every arm."""
    return [
        (experiment.label(arm), figures.arm_colour(position), runs)
        for position, (arm, runs) in enumerate(experiment.arms().items())
    ]
