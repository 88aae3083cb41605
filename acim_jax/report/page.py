"""The report: one self-contained HTML page from run folders. It opens offline and loads nothing.

Model-written text reaches the page as JSON and is shown by `textContent` only. The page's
Content-Security-Policy allows its own scripts (by hash), inline styles, and no address at all, so
a program's output can neither run there nor make the browser ask for anything.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

import jinja2
from jinja2 import utils
from markupsafe import Markup
from plotly import offline

from acim_jax.files import atomic
from acim_jax.report import episodes, runs, sections, summary

#: Episodes on a page, over all runs.
MAX_EPISODES = 600
TITLE = "When to use code: a report"


def write(folders: Sequence[Path], out: Path, *, title: str = TITLE) -> Path:
    """Writes the page of `folders` (runs, or an experiment with its runs) to `out`; returns it.

    Raises FileNotFoundError for a missing folder and ValueError, naming file and line, for
    malformed content; then nothing is written.
    """
    page = render(runs.load(folders), title)
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(out, page)
    return out


def render(experiment: runs.Experiment, title: str) -> str:
    """The page as text."""
    read = {run.folder: episodes.read(run, MAX_EPISODES) for run in experiment.runs}
    chosen = episodes.choose(read.values(), MAX_EPISODES)
    placed = sections.build(experiment, read)
    labels = {arm: experiment.label(arm) for arm in experiment.arms}
    scripts = [offline.get_plotlyjs(), _source("plots.js"), _source("episodes.js")]
    template = jinja2.Template(
        _source("report.html.j2"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return template.render(
        title=title,
        summary=summary.summarise(experiment),
        experiment=experiment,
        sections=placed,
        total_episodes=sum(one.total for one in read.values()),
        shown_episodes=len(chosen),
        labels=labels,
        figures_json=_json({
            f"plot-{section.slug}-{view}-{position}": panel.figure
            for section in placed
            for view, panels in enumerate(section.views.values())
            for position, panel in enumerate(panels)
            if panel.figure
        }),
        episodes_json=_json({"episodes": chosen, "labels": labels}),
        style=Markup(_source("report.css")),
        scripts=[Markup(script) for script in scripts],
        script_sources=" ".join(map(_hash, scripts)),
    )  # fmt: skip


def _source(name: str) -> str:
    """A file of templates/, as it stands."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _json(content: object) -> Markup:
    """JSON that may stand in a <script> element: no `<`, `>`, `&` or `'` in it, and no NaN."""
    return utils.htmlsafe_json_dumps(content, allow_nan=False, separators=(",", ":"))


def _hash(script: str) -> str:
    """A script's name in the Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
