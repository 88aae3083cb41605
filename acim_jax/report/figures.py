"""The plots of the page, as Plotly's JSON: a figure is a dict of `data` and `layout`, or empty.

All colours can be read on a light and on a dark page, so no figure knows the theme.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from acim_jax.evaluation.over_seeds import Curve

Figure = dict[str, Any]

MUTED = "#7d8a97"
GOOD = "#4e93cf"
#: Of arms, and of statuses without a colour of their own; more than these reuse them.
COLOURS = ("#2a78d0", "#cc5a00", "#12876a", "#9257c7", "#c8436a", "#827800", "#b07d00", "#1f8f82")
_OF_STATUS = {
    "ok": GOOD, "eos": GOOD, "kept": GOOD, "error": "#cf5d3b", "timeout": "#d9a441",
    "length": "#d9a441", "infra": MUTED, "other": MUTED,
}  # fmt: skip
_HEAT = [[0, "#eaf1f8"], [0.5, "#9cc5e8"], [1, "#08407a"]]
RATE_BINS = 20
#: Bins of Q̂(code) − Q̂(text) are centred on multiples of this, so that 0 is a centre.
GAP_WIDTH = 0.25


def colour(position: int) -> str:
    return COLOURS[position % len(COLOURS)]


def figure(
    traces: Sequence[Mapping[str, Any]], x_title: str, y_title: str = "", **layout: Any
) -> Figure:
    """Traces over titled axes, empty without any. `layout`: Plotly's, beyond titles."""
    if not traces:
        return {}
    axes = {"xaxis": {"title": {"text": x_title}}, "yaxis": {"title": {"text": y_title}}}
    axes = {name: {**axis, **layout.pop(name, {})} for name, axis in axes.items()}
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"}
    margin = {"l": 54, "r": 14, "t": 46, "b": 46}
    return {
        "data": traces,
        "layout": {"margin": margin, "legend": legend, "showlegend": True} | axes | layout,
    }


def curves(
    arms: Sequence[tuple[str, str, Curve]],
    references: Mapping[str, float],
    borders: Mapping[float, str],
    *,
    shares: bool = True,
) -> Figure:
    """(label, colour, curve) of every arm over rollouts, and horizontal lines by name. borders:
    names of vertical lines by rollouts. shares: values lie between 0 and 1."""
    traces: list[dict[str, Any]] = []
    for label, shade, curve in arms:
        common = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False}
        rgb = ", ".join(map(str, bytes.fromhex(shade[1:])))
        if curve.low:
            traces.append({
                **common,
                "x": [*curve.rollouts, *reversed(curve.rollouts)],
                "y": [*curve.high, *reversed(curve.low)],
                "fill": "toself", "fillcolor": f"rgba({rgb}, 0.18)", "line": {"width": 0},
            })  # fmt: skip
        for number, (x, y) in enumerate(curve.seeds if len(curve.seeds) > 1 else (), start=1):
            traces.append({
                **common, "x": x, "y": y, "name": f"{plain(label)}, line {number}",
                "line": {"color": shade, "width": 1}, "opacity": 0.55,
            })  # fmt: skip
        traces.append({
            "type": "scatter", "mode": "lines+markers", "x": curve.rollouts, "y": curve.mean,
            "name": plain(label), "line": {"color": shade, "width": 3},
            "hovertemplate": "%{y:.3f} after %{x:,} rollouts",
        })  # fmt: skip
    dashes = zip(references.items(), ("dot", "dashdot", "dash"), strict=False)
    lines = [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value,
         "name": f"{name} {value:.3f}", "showlegend": True,
         "line": {"color": MUTED, "dash": dash, "width": 2}}
        for (name, value), dash in dashes
    ]  # fmt: skip
    lines += [
        {"type": "line", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1,
         "line": {"color": MUTED, "dash": "dash", "width": 1},
         "label": {"text": name, "textposition": "end", "textangle": 0, "xanchor": "left"}}
        for x, name in borders.items()
    ]  # fmt: skip
    yaxis = {"range": [-0.03, 1.03]} if shares else {"rangemode": "tozero"}
    return figure(traces, "training rollouts", yaxis=yaxis, shapes=lines)


def histogram(series: Sequence[tuple[str, str, Sequence[float]]], x_title: str) -> Figure:
    """(name, colour, rates in [0, 1]): the share of the rates in each bin, side by side."""
    traces = []
    for name, shade, rates in (one for one in series if one[2]):
        counts, edges = np.histogram(rates, bins=RATE_BINS, range=(0.0, 1.0))
        traces.append({
            "type": "bar", "name": f"{name} (n={len(rates)})", "marker": {"color": shade},
            "x": ((edges[:-1] + edges[1:]) / 2).round(4).tolist(),
            "y": (counts / len(rates)).tolist(),
            "customdata": [f"{a:.2f}\u2013{a + 1 / RATE_BINS:.2f}" for a in edges[:-1]],
            "hovertemplate": "%{y:.1%} of problems at %{customdata}",
        })  # fmt: skip
    return figure(
        traces, x_title, "share of problems", barmode="group", bargap=0.08,
        xaxis={"range": [-0.01, 1.01]}, yaxis={"range": [-0.03, 1.03]},
    )  # fmt: skip


def calibration(series: Sequence[tuple[str, str, Sequence[tuple[float, float]]]]) -> Figure:
    """(name, colour, pairs of Q̂(code) − Q̂(text) and π̂(code|x)): mean π̂ by bins of the gap, with
    one standard error of the mean over problems, 0 for a single one."""
    traces = []
    for position, (name, shade, pairs) in enumerate(series):
        bins: dict[float, list[float]] = {}
        for gap, policy in sorted(pairs):
            # Floor of x + 1/2, so that ties go up on both sides of 0.
            bins.setdefault(GAP_WIDTH * float(np.floor(gap / GAP_WIDTH + 0.5)), []).append(policy)
        errors = [np.std(p, ddof=1) / len(p) ** 0.5 if len(p) > 1 else 0.0 for p in bins.values()]
        traces.append({
            "type": "scatter", "mode": "lines+markers", "name": name,
            # Two series at the same gap stand a little apart, so that their bars can be told.
            "x": [gap + (position - 0.5) * 0.2 * GAP_WIDTH for gap in bins],
            "y": [float(np.mean(policies)) for policies in bins.values()],
            "error_y": {"array": list(map(float, errors)), "thickness": 1.5, "width": 3},
            "line": {"color": shade, "width": 1.5}, "marker": {"size": 9},
            "customdata": [[gap, len(policies)] for gap, policies in bins.items()],
            "hovertemplate": "gap about %{customdata[0]}, mean π(code | x) %{y:.3f}, "
                             "%{customdata[1]} problems",
        })  # fmt: skip
        traces.append({
            "type": "scatter", "mode": "text", "hoverinfo": "skip", "showlegend": False,
            "x": list(bins), "y": [1.09 + 0.09 * position] * len(bins),
            "text": [f"n={len(policies)}" for policies in bins.values()],
            "textfont": {"color": shade, "size": 12},
        })  # fmt: skip
    return figure(
        traces, "Q̂(code) − Q̂(text), binned", "mean π(code | x)",
        xaxis={"range": [-1.15, 1.15], "zerolinecolor": MUTED},
        yaxis={"range": [-0.05, 1.08 + 0.1 * len(series)], "tickvals": [0, 0.2, 0.4, 0.6, 0.8, 1]},
    )  # fmt: skip


def bars(iterations: Sequence[int], series: Mapping[str, Sequence[float]], y_title: str) -> Figure:
    """One stacked bar an iteration: good ends lowest; a status has one colour in every plot.

    series: by the metric's name, of which the last part is shown. A single one has its figures
    above the bars, so that a 0 can be seen.
    """
    alone = len(series) == 1
    shown = {k.rpartition("/")[2]: v for k, v in series.items() if any(v) or alone}
    others = [name for name in shown if name not in _OF_STATUS]
    shades = {name: colour(position + 2) for position, name in enumerate(others)} | _OF_STATUS
    traces = [
        {"type": "bar", "x": iterations, "y": shown[name], "name": plain(name),
         "marker": {"color": shades[name]}, "hovertemplate": "%{y:,} in iteration %{x}",
         "texttemplate": "%{y:,.3~g}" if alone else "", "textposition": "outside",
         "cliponaxis": False}
        for name in sorted(shown, key=lambda name: shades[name] != GOOD)
    ]  # fmt: skip
    # Whole iterations only, at most about twelve labels.
    ticks = {"dtick": max(1, -(-len(iterations) // 12))}
    return figure(traces, "iteration", y_title, barmode="stack", bargap=0.15, xaxis=ticks)


def heat_maps(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """A row of maps, family by level, for each title and its strata.

    Columns: Q̂(text), Q̂(code), π(code), and native accuracy where it is recorded.
    """
    if not rows:
        return {}
    columns = {
        "text": "Q̂(text)", "code": "Q̂(code)", "policy_code": "π(code | x)",
        "native": "native accuracy",
    }  # fmt: skip
    tables = {
        title: {tuple(one["stratum"].rsplit("/", 1)): one for one in strata}
        for title, strata in rows.items()
    }
    names = {name for table in tables.values() for name in table}
    families = sorted({family for family, _ in names}, reverse=True)
    levels = sorted({level for _, level in names}, key=lambda level: (len(level), level))
    recorded = {key for strata in rows.values() for one in strata for key in one}
    known = [key for key in columns if key in recorded]
    category = {"type": "category", "showgrid": False, "ticks": ""}
    grid = {"rows": len(rows), "columns": len(known), "xside": "top plot", "xgap": 0.03}
    layout: dict[str, Any] = {"grid": grid | {"ygap": 0.05}, "margin": {"t": 56, "b": 8, "r": 14}}
    traces = []
    for row, (title, table) in enumerate(tables.items(), start=1):
        lines = [[table.get((family, level), {}) for level in levels] for family in families]
        layout[f"yaxis{row}"] = category | {"title": {"text": title}}
        for column, key in enumerate(known, start=1):
            layout[f"xaxis{column}"] = category | {"title": {"text": columns[key]}, "side": "top"}
            traces.append({
                "type": "heatmap", "xaxis": f"x{column}", "yaxis": f"y{row}",
                "x": [f"level {plain(level)}" for level in levels],
                "y": [plain(family) for family in families],
                "z": [[one.get(key) for one in line] for line in lines],
                "customdata": [[one.get("n") for one in line] for line in lines],
                "zmin": 0, "zmax": 1, "colorscale": _HEAT, "showscale": False,
                "xgap": 2, "ygap": 2, "hoverongaps": False, "texttemplate": "%{z:.2f}",
                "hovertemplate": f"%{{y}}, %{{x}}<br>{columns[key]} %{{z:.3f}}, "
                                 "%{customdata} problems<extra></extra>",
            })  # fmt: skip
    return {"data": traces, "layout": layout}


def plain(text: str) -> str:
    """Text for Plotly, where `<` begins markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;")
