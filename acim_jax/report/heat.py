"""Heat maps of what each decision is worth, family by level, with the numbers written in."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from acim_jax.report.data import Stratum
from acim_jax.report.figures import plain

_SCALE = [[i / 4, f"var(--heat-{i})"] for i in range(5)]
#: Numbers above this value are written in the other ink; both themes' scales meet it.
_INK_CHANGES = 0.62

Grid = Sequence[Sequence[float | None]]


def heat_maps(rows: Sequence[tuple[str, Sequence[Stratum]]]) -> tuple[go.Figure, int]:
    """A row of maps for each (title, strata), and the height in pixels.

    Columns: Q̂(text), Q̂(code), π(code), and native accuracy where it is recorded.
    """
    columns = {"text": "Q̂(text)", "code": "Q̂(code)", "policy_code": "π(code | x)"}
    if any("native" in stratum.values for _, strata in rows for stratum in strata):
        columns["native"] = "native accuracy"
    families = sorted({stratum.family for _, strata in rows for stratum in strata}, reverse=True)
    levels = sorted({stratum.level for _, strata in rows for stratum in strata}, key=_natural)
    fig = make_subplots(
        rows=len(rows),
        cols=len(columns),
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.02,
        vertical_spacing=0.13 if len(families) < 4 else 0.09,
        subplot_titles=[f"{title}: {name}" for title, _ in rows for name in columns.values()],
    )
    x, y = [f"level {plain(level)}" for level in levels], [plain(family) for family in families]
    for row, (_, strata) in enumerate(rows, start=1):
        table = {(stratum.family, stratum.level): stratum for stratum in strata}
        grid = [[table.get((family, level)) for level in levels] for family in families]
        n = [[stratum and stratum.n for stratum in line] for line in grid]
        for column, (key, name) in enumerate(columns.items(), start=1):
            z = [[stratum and stratum.values.get(key) for stratum in line] for line in grid]
            fig.add_trace(_map(x, y, z, n, name), row=row, col=column)
            for numbers in _numbers(x, y, z):
                fig.add_trace(numbers, row=row, col=column)
    fig.update_layout(
        template=go.layout.Template(),
        showlegend=False,
        margin={"l": 86, "r": 14, "t": 30, "b": 30},
    )
    fig.update_annotations(font_size=13)
    fig.update_xaxes(type="category", showgrid=False, ticks="")
    fig.update_yaxes(type="category", showgrid=False, ticks="")
    return fig, len(rows) * (70 + 26 * max(len(families), 2))


def _map(
    x: Sequence[str], y: Sequence[str], z: Grid, n: Sequence[Sequence[int | None]], name: str
) -> go.Heatmap:
    return go.Heatmap(
        x=x,
        y=y,
        z=z,
        customdata=n,
        zmin=0,
        zmax=1,
        colorscale=_SCALE,
        showscale=False,
        xgap=2,
        ygap=2,
        hoverongaps=False,
        hovertemplate=(
            f"%{{y}}, %{{x}}<br>{name} %{{z:.3f}}, %{{customdata}} problems<extra></extra>"
        ),
    )


def _numbers(x: Sequence[str], y: Sequence[str], z: Grid) -> list[go.Scatter]:
    """The values as text: one trace for each ink."""
    traces = []
    for ink, high in (("low", False), ("high", True)):
        written = [
            (level, family, f"{value:.2f}")
            for family, line in zip(y, z, strict=True)
            for level, value in zip(x, line, strict=True)
            if value is not None and (value > _INK_CHANGES) == high
        ]
        traces.append(
            go.Scatter(
                x=[level for level, _, _ in written],
                y=[family for _, family, _ in written],
                text=[text for _, _, text in written],
                mode="text",
                textfont={"color": f"var(--heat-ink-{ink})", "size": 13},
                hoverinfo="skip",
            )
        )
    return traces


def _natural(level: str) -> tuple[bool, int, str]:
    """Numbers by size, before words."""
    return not level.isdecimal(), int(level) if level.isdecimal() else 0, level
