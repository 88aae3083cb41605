"""`acim watch RUN`: a live view of a run in the terminal."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import rich.console
import rich.live
import rich.panel
import rich.table
import rich.text

from acim_jax.cli import console
from acim_jax.report import live
from acim_jax.report.live import Live
from acim_jax.run.metric_names import Metric

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 40
#: What is drawn, by what it is called.
CURVES = {
    "accuracy": Metric.ACCURACY,
    "selection accuracy": Metric.SELECTION_ACCURACY,
    "code rate, native": Metric.EVAL_CODE_RATE,
    "reward of rollouts": Metric.REWARD,
    "π(code)": Metric.POLICY_CODE,
    "s*(code)": Metric.STRATEGY_CODE,
    "mass of prefixes": Metric.POLICY_MASS,
    "mixed groups": Metric.USABLE_GROUPS,
    "policy loss": Metric.POLICY_LOSS,
    "decision loss": Metric.DECISION_LOSS,
    "KL, nats a token": Metric.KL,
    "gradient norm": Metric.GRAD_NORM,
    "response tokens": Metric.RESPONSE_TOKENS,
    "seconds": Metric.TIME_TOTAL,
}


def run(args: argparse.Namespace) -> int:
    """Draws until the run is finished or Ctrl-C; once where there is no terminal."""
    screen = console.console()
    if args.once or not screen.is_terminal:
        screen.print(view(live.read(live.find(args.run), args.episodes)))
        return 0
    with rich.live.Live(console=screen, auto_refresh=False, screen=False) as drawn:
        while True:
            current = live.read(live.find(args.run), args.episodes)
            drawn.update(view(current), refresh=True)
            if current.finished and current.folder == args.run:
                print(f"{current.folder} is finished", file=sys.stderr)
                return 0
            time.sleep(args.interval)


def view(run: Live) -> rich.console.Group:
    """Where the run is, its curves, what should worry, and some of its newest rollouts."""
    parts: list[rich.console.RenderableType] = [rich.text.Text(_headline(run), style="bold")]
    parts += [rich.text.Text(f"⚠ {alarm}", style="yellow") for alarm in run.alarms]
    curves = rich.table.Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    curves.add_column()
    curves.add_column("start", justify="right")
    curves.add_column("now", justify="right")
    curves.add_column()
    for name, metric in CURVES.items():
        if values := run.values(metric):
            curves.add_row(name, f"{values[0]:.4g}", f"{values[-1]:.4g}", sparkline(values))
    if curves.row_count:
        parts.append(curves)
    parts += [_episode(record) for record in run.newest]
    return rich.console.Group(*parts)


def _headline(run: Live) -> str:
    if run.finished:
        state = "finished"
    elif run.iteration >= run.iterations > 0:
        state = "evaluating the end"
    elif run.iteration < 0:
        state = "making its start"
    else:
        done, of = run.rollouts
        state = f"iteration {run.iteration + 1} of {run.iterations}"
        state += f", {done} of {of} rollouts" if of else f", {done} rollouts"
        if run.seconds_left is not None:
            state += f", about {run.seconds_left / 60:.0f} min left"
    return f"{run.folder} ({run.method}): {state}"


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """The last `width` values as bars between their least and their greatest."""
    shown = values[-width:]
    low, high = min(shown), max(shown)
    if high == low:
        return BLOCKS[0] * len(shown)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round((value - low) / (high - low) * top)] for value in shown)


def _episode(record: Mapping[str, Any]) -> rich.panel.Panel:
    text = rich.text.Text()
    for segment in record["segments"]:
        match segment["author"]:
            case "PROMPT":
                continue
            case "OUTPUT":
                text.append(segment["text"], style="cyan")
            case "FORCED":
                text.append(segment["text"], style="dim")
            case _:
                text.append(segment["text"])
    text.truncate(600, overflow="ellipsis")
    is_right = record["reward"] >= 1
    title = f"{record.get('question') or record['problem_id']}"[:120]
    said = f"{record['guide']} → {record['decision']}, reward {record['reward']:g}"
    return rich.panel.Panel(
        text,
        title=rich.text.Text(title),
        subtitle=rich.text.Text(said),
        border_style="green" if is_right else "red",
    )
