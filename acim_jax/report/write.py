"""The report: one self-contained HTML page from run folders. It opens offline and loads nothing.

Model-written text reaches the page as JSON and is shown by `textContent` only. The page's
Content-Security-Policy allows its own scripts (by hash), inline styles, and no address at all, so
a program's output can neither run there nor make the browser ask for anything.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import utils
from markupsafe import Markup
from plotly import offline

from acim_jax.report import data, estimates, summary
from acim_jax.report import episodes as report_episodes
from acim_jax.report import figures as report_figures
from acim_jax.report import sections as report_sections

#: Episodes on a page, over all runs.
MAX_EPISODES = 600
TITLE = "When to use code: a report"


def write_report(runs: Sequence[Path], out: Path, *, title: str = TITLE) -> Path:
    """Writes the page of `runs` (run folders, or an experiment folder) to `out`, and returns it.

    Raises FileNotFoundError for a missing folder and ValueError, naming file and line, for
    malformed content; then nothing is written.
    """
    if not runs:
        raise ValueError("A report needs at least one run folder.")
    experiment = data.load(runs)
    page = render(experiment, title)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(out)
    return out


def render(experiment: data.Experiment, title: str) -> str:
    """The page as text."""
    read = {run.folder: report_episodes.read(run, MAX_EPISODES) for run in experiment.runs}
    chosen = report_episodes.choose(read.values(), MAX_EPISODES)
    sections = report_sections.build(experiment, read)
    results = estimates.arm_results(experiment)
    start = estimates.start_accuracy(experiment)
    colours = {arm: report_figures.arm_colour(i) for i, arm in enumerate(experiment.arms())}
    figures, views = _place(sections)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("acim_jax.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = {
        "plotly": offline.get_plotlyjs(),
        "page": _source(environment, "report.js"),
        "browser": _source(environment, "episodes.js"),
    }
    return environment.get_template("report.html.j2").render(
        title=title,
        headline=summary.headline(results, start),
        tiles=summary.tiles(results, start, colours),
        table=summary.table(experiment, results),
        facts=summary.facts(experiment),
        skipped=experiment.skipped,
        sections=sections,
        views=views,
        runs=experiment.runs,
        total_episodes=sum(episodes.total for episodes in read.values()),
        shown_episodes=len(chosen),
        labels={arm: experiment.label(arm) for arm in colours},
        figures_json=_json(figures),
        episodes_json=_json(
            {"episodes": chosen, "labels": {arm: experiment.label(arm) for arm in colours}}
        ),
        style=Markup(_source(environment, "report.css")),
        scripts={name: Markup(source) for name, source in scripts.items()},
        script_sources=" ".join(_csp_hash(source) for source in scripts.values()),
    )


def _place(
    sections: Sequence[report_sections.Section],
) -> tuple[dict[str, Any], Mapping[str, list[tuple[str, list[tuple[str, Any]]]]]]:
    """Element id → plotly JSON, and section → [(arm label, [(element id, panel)])]."""
    figures: dict[str, Any] = {}
    views: dict[str, list[tuple[str, list[tuple[str, Any]]]]] = {}
    for section in sections:
        views[section.slug] = []
        for view, (label, panels) in enumerate(section.views.items()):
            placed = []
            for position, panel in enumerate(panels):
                name = f"plot-{section.slug}-{view}-{position}"
                figures[name] = panel.figure.to_plotly_json()
                placed.append((name, panel))
            views[section.slug].append((label, placed))
    return figures, views


def _source(environment: jinja2.Environment, name: str) -> str:
    """A file of templates/, as it stands."""
    if environment.loader is None:
        raise AssertionError("the environment is made with a loader")
    return environment.loader.get_source(environment, name)[0]


def _json(content: object) -> Markup:
    """JSON that may stand in a <script> element: no `<`, `>`, `&` or `'` in it, and no NaN."""
    return utils.htmlsafe_json_dumps(content, allow_nan=False, separators=(",", ":"))


def _csp_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
