"""The plots of the report, as plotly figures.

Colours are CSS variables (`var(--arm-0)`), which the page's script resolves for the light or the
dark theme; `…-band` is the same colour, mostly transparent. So no figure knows the theme.
"""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from acim_jax.report.estimates import GAP_WIDTH, RATE_BINS, Calibration, Curve

MARGIN = {"l": 54, "r": 14, "t": 10, "b": 46}
#: As many colours as templates/report.css defines; more arms reuse them.
ARM_COLOURS = 6
REFERENCE_DASHES = {"text": "dot", "code": "dashdot", "oracle": "dash"}
REFERENCE_LABELS = {"text": "always text", "code": "always code", "oracle": "oracle selector"}
_SERIES_COLOURS = 10
_NAMED_SERIES = {
    "ok": "good",
    "eos": "good",
    "kept": "good",
    "error": "series-1",
    "timeout": "series-2",
    "length": "series-2",
    "infra": "muted",
    "other": "muted",
}


def arm_colour(position: int) -> str:
    """The CSS variable of the arm at `position`."""
    return f"var(--arm-{position % ARM_COLOURS})"


def figure(*, x_title: str, y_title: str, unit_range: bool = False) -> go.Figure:
    """An empty figure with titled axes; the page sets the template, for its theme."""
    layout = go.Layout(
        template=go.layout.Template(),
        margin=MARGIN,
        showlegend=False,
        hovermode="closest",
        xaxis={"title": {"text": x_title}},
        yaxis={"title": {"text": y_title}},
    )
    fig = go.Figure(layout=layout)
    return fig.update_yaxes(range=[-0.03, 1.03]) if unit_range else fig


def curves(arms: Sequence[tuple[str, str, Curve]], references: Mapping[str, float]) -> go.Figure:
    """(label, colour, curve) of every arm over rollouts, with dashed reference lines.

    Without a y title: the panel's title says what is plotted.
    """
    fig = figure(x_title="training rollouts", y_title="", unit_range=True)
    for name, value in references.items():
        fig.add_hline(
            y=value,
            line={"color": f"var(--reference-{name})", "dash": REFERENCE_DASHES[name], "width": 2},
        )
    for label, colour, curve in arms:
        if curve.low:
            fig.add_scatter(
                x=[*curve.rollouts, *reversed(curve.rollouts)],
                y=[*curve.high, *reversed(curve.low)],
                fill="toself",
                fillcolor=f"{colour[:-1]}-band)",
                line={"width": 0, "color": colour},
                mode="lines",
                hoverinfo="skip",
            )
        for seed, (rollouts, values) in enumerate(curve.seeds if len(curve.seeds) > 1 else ()):
            fig.add_scatter(
                x=rollouts,
                y=_rounded(values),
                mode="lines",
                line={"color": colour, "width": 1},
                opacity=0.55,
                name=f"{plain(label)}, line {seed + 1}",
                hoverinfo="skip",
            )
        fig.add_scatter(
            x=curve.rollouts,
            y=_rounded(curve.mean),
            mode="lines+markers",
            line={"color": colour, "width": 3},
            marker={"size": 6},
            name=plain(label),
            hovertemplate=f"{plain(label)}: %{{y:.3f}} after %{{x:,}} rollouts<extra></extra>",
        )
    return fig


def rate_histogram(
    series: Sequence[tuple[str, str, tuple[list[float], list[float]]]], x_title: str
) -> go.Figure:
    """(label, colour, (bin centres, shares)) side by side in every bin."""
    fig = figure(x_title=x_title, y_title="share of problems", unit_range=True)
    for label, colour, (centres, shares) in series:
        fig.add_bar(
            x=centres,
            y=_rounded(shares),
            name=plain(label),
            marker={"color": colour},
            customdata=[
                f"{c - 0.5 / RATE_BINS:.2f}\u2013{c + 0.5 / RATE_BINS:.2f}" for c in centres
            ],
            hovertemplate=(
                f"{plain(label)}: %{{y:.1%}} of problems at %{{customdata}}<extra></extra>"
            ),
        )
    fig.update_layout(barmode="group", bargap=0.08, xaxis_range=[-0.01, 1.01])
    return fig


def calibration(parts: Sequence[tuple[str, str, Calibration]]) -> go.Figure:
    """(label, colour, bins) as points with ± one standard error; a row of counts a part on top."""
    fig = figure(x_title="Q̂(code) − Q̂(text), binned", y_title="mean π(code | x)")
    fig.add_shape(x0=0, x1=0, y0=-0.05, y1=1.03, line={"color": "var(--muted)", "width": 1})
    for position, (label, colour, bins) in enumerate(parts):
        fig.add_scatter(
            # Two parts at the same gap stand a little apart, so that their bars can be told.
            x=[gap + (position - 0.5) * 0.2 * GAP_WIDTH for gap in bins.gap],
            y=_rounded(bins.policy_code),
            error_y={"array": _rounded(bins.stderr), "color": colour, "thickness": 1.5, "width": 3},
            mode="lines+markers",
            line={"color": colour, "width": 1.5},
            marker={"size": 9},
            customdata=list(zip(bins.gap, bins.count, strict=True)),
            name=plain(label),
            hovertemplate=(
                f"{plain(label)}: gap about %{{customdata[0]}}, mean π(code | x) %{{y:.3f}}, "
                "%{customdata[1]} problems<extra></extra>"
            ),
        )
        fig.add_scatter(
            x=bins.gap,
            y=[1.09 + 0.09 * position] * len(bins.gap),
            mode="text",
            text=[f"n={count}" for count in bins.count],
            textfont={"color": colour, "size": 12},
            hoverinfo="skip",
            showlegend=False,
        )
    fig.update_yaxes(range=[-0.05, 1.08 + 0.1 * len(parts)], tickvals=[0, 0.2, 0.4, 0.6, 0.8, 1])
    fig.update_xaxes(range=[-1.15, 1.15])
    return fig


def counts(iterations: Sequence[int], values: Sequence[float], y_title: str) -> go.Figure:
    """One bar an iteration with its figure above, so that a 0 can be seen."""
    fig = figure(x_title="iteration", y_title=y_title)
    fig.add_bar(
        x=iterations,
        y=_rounded(values),
        marker={"color": "var(--good)"},
        text=[f"{value:.3g}" for value in values],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y} in iteration %{x}<extra></extra>",
    )
    fig.update_xaxes(dtick=_tick(iterations))
    return fig


def stacked_bars(
    iterations: Sequence[int], series: Mapping[str, Sequence[float]], y_title: str
) -> go.Figure:
    """One stacked bar an iteration: good ends lowest; a status has one colour in every plot."""
    fig = figure(x_title="iteration", y_title=y_title)
    rest = 0
    for name in sorted(series, key=lambda name: _NAMED_SERIES.get(name) != "good"):
        values = series[name]
        if not any(values):
            continue
        colour = _NAMED_SERIES.get(name)
        if colour is None:
            # 0 to 2 belong to the named series.
            colour, rest = f"series-{3 + rest % (_SERIES_COLOURS - 3)}", rest + 1
        fig.add_bar(
            x=iterations,
            y=_rounded(values),
            name=plain(name),
            marker={"color": f"var(--{colour})"},
            hovertemplate=f"{plain(name)}: %{{y:,}} in iteration %{{x}}<extra></extra>",
        )
    fig.update_layout(
        barmode="stack",
        bargap=0.15,
        showlegend=True,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        margin=MARGIN | {"t": 46},
    )
    fig.update_xaxes(dtick=_tick(iterations))
    return fig


def _tick(iterations: Sequence[int]) -> int:
    """Whole iterations only, at most about twelve labels."""
    return max(1, -(-len(iterations) // 12))


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in values]


def plain(text: str) -> str:
    """Text for plotly, where `<` begins markup and, in a hover template, `%{` a variable."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("%{", "% {")
