"""The page as a file: figures against ones recomputed from the run folders, escaping, bad input."""

import html.parser
import json
import math
import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from plotly import graph_objects

from acim_jax.cli import main
from acim_jax.report import page as report
from tests.support import run_folders


class _Parts(html.parser.HTMLParser):
    """Elements with their attributes, JSON scripts by id, and the text outside of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.by_id: dict[str, str] = {}
        self.text = ""
        self._script: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.scripts.append("")
            self._script = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style") and self._script is not None:
            self.by_id[self._script] = self.scripts[-1]
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self.text += data
        else:
            self.scripts[-1] += data


def _parse(page: Path) -> _Parts:
    parts = _Parts()
    parts.feed(page.read_text(encoding="utf-8"))
    return parts


def _metrics(folder: Path, name: str) -> list[dict[str, Any]]:
    lines = (folder / name / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folders.write_experiment(tmp_path_factory.mktemp("report") / "experiment")


@pytest.fixture(scope="module")
def parts(experiment: Path) -> _Parts:
    return _parse(report.write([experiment], experiment.parent / "page" / "report.html"))


@pytest.fixture(scope="module")
def figures(parts: _Parts) -> dict[str, Any]:
    return json.loads(parts.by_id["figures"])


@pytest.fixture
def single(tmp_path: Path) -> Path:
    return run_folders.write_run(
        tmp_path / "solo", method="em", seed=7, iterations=2, families=run_folders.FAMILIES
    )


def _trace(figure: dict[str, Any], name: str) -> dict[str, Any]:
    return next(trace for trace in figure["data"] if trace.get("name") == name)


def test_headline_and_table_give_the_means_over_seeds(experiment: Path, parts: _Parts) -> None:
    for arm in ("em", "rl"):
        finals = [
            json.loads((experiment / f"{arm}-seed{s}/evaluation/final/results.json").read_text())
            for s in (0, 1)
        ]
        values = [f["data"]["generated:arithmetic"]["native"]["accuracy"] for f in finals]
        low, high, mean = min(values), max(values), sum(values) / 2
        stderr = statistics.stdev(values) / math.sqrt(2)
        said = f"{arm.upper()} scores {mean:.3f} ({low:.3f}–{high:.3f} over 2 seeds)"
        assert said in parts.text
        assert f"{mean:.3f} ± {stderr:.3f}" in parts.text
    assert "At 96 rollouts each" in parts.text
    assert "the starting checkpoint scores 0.420, its oracle 0.930." in parts.text


def test_plotly_knows_every_field_of_the_figures(figures: dict[str, Any]) -> None:
    assert len(figures) == 24
    for figure in figures.values():
        assert len(graph_objects.Figure(figure).data) == len(figure["data"]) > 0


def test_curves_hold_mean_and_range_over_seeds(experiment: Path, figures: dict[str, Any]) -> None:
    first, second = _metrics(experiment, "em-seed0"), _metrics(experiment, "em-seed1")
    figure = figures["plot-accuracy-0-0"]
    line = _trace(figure, "EM")
    assert line["x"] == [0, 32, 64, 96]
    pairs = [(a["eval/accuracy"], b["eval/accuracy"]) for a, b in zip(first, second, strict=True)]
    assert line["y"] == pytest.approx([(a + b) / 2 for a, b in pairs], abs=1e-4)
    band = next(t for t in figure["data"] if t.get("fill") == "toself")
    expected = [max(p) for p in pairs] + [min(p) for p in reversed(pairs)]
    assert band["y"] == pytest.approx(expected, abs=1e-9)
    assert [shape["y0"] for shape in figure["layout"]["shapes"]] == [0.44, 0.58, 0.93]


def test_terms_have_curves_of_their_gradients(experiment: Path, figures: dict[str, Any]) -> None:
    pulled = [_metrics(experiment, f"em-seed{seed}")[1:] for seed in (0, 1)]
    decision = figures["plot-terms-0-1"]
    values = [[row["train/grad_norm_decision"] for row in rows] for rows in pulled]
    means = [sum(pair) / 2 for pair in zip(*values, strict=True)]
    assert _trace(decision, "EM")["y"] == pytest.approx(means, abs=1e-4)
    assert max(means) > 1 and "range" not in decision["layout"]["yaxis"]
    assert not any("RL" in trace.get("name", "") for trace in decision["data"])
    policy = _trace(figures["plot-terms-0-0"], "RL")
    assert policy["x"] == [32, 96], "nothing to learn from in iteration 2"
    assert policy["y"] == pytest.approx([0.1, 0.3])


@pytest.mark.parametrize("pseudo_counts", [0, 4])
def test_says_what_shrinkage_does(single: Path, pseudo_counts: int) -> None:
    config = single / "config.yaml"
    config.write_text(f"method: em\nexplore: {{value_pseudo_counts: {pseudo_counts}}}\n")
    said = _parse(report.write([single], single.parent / "report.html")).text
    assert ("as by 4 more rollouts of reward 1/2" in said) == bool(pseudo_counts)


def test_mean_stops_where_a_seed_stops(experiment: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        rows = _metrics(experiment, f"em-seed{seed}")[: 4 - 2 * seed]
        folder = tmp_path / f"em-seed{seed}"
        folder.mkdir()
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "metrics.jsonl").write_text(text)
    page = _parse(report.write([tmp_path], tmp_path / "r.html"))
    figure = json.loads(page.by_id["figures"])["plot-accuracy-0-0"]
    assert _trace(figure, "EM")["x"] == [0, 32]
    assert _trace(figure, "EM, line 1")["x"] == [0, 32, 64, 96]
    assert "EM scores" in page.text
    assert "after 32 / 96 rollouts" in page.text


def test_histogram_of_native_code_rates(experiment: Path, figures: dict[str, Any]) -> None:
    rates = []
    for seed in (0, 1):
        path = experiment / f"rl-seed{seed}/episodes/iteration_0003.jsonl"
        decisions: dict[str, list[bool]] = {}
        for row in map(json.loads, path.read_text().splitlines()):
            if row["guide"] == "native":
                decisions.setdefault(row["problem_id"], []).append(row["decision"] == "code")
        rates += [sum(d) / len(d) for d in decisions.values()]
    counts = Counter(min(int(rate * 20), 19) for rate in rates)
    found = [f for name, f in figures.items() if name.startswith("plot-code-rates")]
    name = f"iteration 3 (n={len(rates)})"
    bars = next(t for f in found for t in f["data"] if t["name"] == name)
    assert bars["y"] == pytest.approx([counts[i] / len(rates) for i in range(20)], abs=1e-4)
    assert len(counts) > 1


def test_heat_map_numbers_are_means_over_seeds(experiment: Path, figures: dict[str, Any]) -> None:
    tables = []
    for seed in (0, 1):
        strata = json.loads(
            (experiment / f"em-seed{seed}/evaluation/final/strata.json").read_text()
        )
        tables.append({stratum["stratum"]: stratum["policy_code"] for stratum in strata})
    traces = [t for t in figures["plot-values-0-0"]["data"] if t["type"] == "heatmap"]
    after = traces[4 + 2]  # second row, third column: π(code | x) after
    for family, line in zip(after["y"], after["z"], strict=True):
        for level, value in zip(after["x"], line, strict=True):
            stratum = f"{family}/{level.removeprefix('level ')}"
            assert value == pytest.approx((tables[0][stratum] + tables[1][stratum]) / 2)
    assert after["y"] == ["mul", "lastdigit", "gcd"]


def test_calibration_bins(experiment: Path, figures: dict[str, Any]) -> None:
    bins: dict[float, list[float]] = {}
    for seed in (0, 1):
        path = experiment / f"em-seed{seed}/values/iteration_0003.jsonl"
        for row in map(json.loads, path.read_text().splitlines()):
            gap = 8 * (row["value"][1] - row["value"][0])
            centre = math.floor(gap / 2 + 0.5) / 4  # eighths to the nearest quarter, ties up
            bins.setdefault(centre, []).append(row["policy"][1])
    trace = _trace(figures["plot-calibration-0-0"], "iteration 3")
    found = {gap: (y, n) for (gap, n), y in zip(trace["customdata"], trace["y"], strict=True)}
    assert found.keys() == bins.keys()
    for gap, values in bins.items():
        assert found[gap] == (pytest.approx(sum(values) / len(values), abs=1e-4), len(values))


def test_executions_and_drops_are_sums_over_seeds(
    experiment: Path, figures: dict[str, Any]
) -> None:
    tables = [_metrics(experiment, f"em-seed{seed}")[1:] for seed in (0, 1)]
    for plot, key in (("0-0", "curate/dropped/agree"), ("0-1", "explore/executions/timeout")):
        bars = _trace(figures[f"plot-counts-{plot}"], key.rsplit("/")[-1])
        assert bars["x"] == [1, 2, 3]
        assert bars["y"] == [a[key] + b[key] for a, b in zip(*tables, strict=True)]
    fates = figures["plot-counts-0-0"]["data"]
    assert [bars["name"] for bars in fates] == ["kept", "agree", "not_drawn"]
    compiled = figures["plot-time-0-1"]["data"][0]
    assert compiled["y"] == [9, 9, 0, 0]


def test_stages_do_not_overlap_and_add_up(experiment: Path, figures: dict[str, Any]) -> None:
    rows = [_metrics(experiment, f"em-seed{seed}")[2] for seed in (0, 1)]
    stages = {bars["name"]: bars["y"][2] for bars in figures["plot-time-0-0"]["data"]}
    rest = [r["time/explore"] - r["time/execute"] for r in rows]
    assert stages["explore (rest)"] == pytest.approx(sum(rest) / 2, abs=1e-4)
    assert sum(stages.values()) == pytest.approx(20.0, abs=1e-3)
    assert stages["other"] > 0


def test_a_fixed_choice_covers_every_outcome(experiment: Path, parts: _Parts,
                                             monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def outcome(e: dict[str, Any]) -> tuple[object, ...]:
        keys = ("arm", "seed", "iteration", "guide", "decision", "reward")
        return tuple(e[key] for key in keys)

    whole = json.loads(parts.by_id["episode-data"])["episodes"]
    assert len(whole) == 4 * (3 * run_folders.ROLLOUTS + 4)
    outcomes = {outcome(e) for e in whole}
    monkeypatch.setattr(report, "MAX_EPISODES", len(outcomes))
    pages = [report.write([experiment], experiment.parent / "few.html") for _ in range(2)]
    chosen = [json.loads(_parse(page).by_id["episode-data"])["episodes"] for page in pages]
    assert chosen[0] == chosen[1]
    assert Counter(map(outcome, chosen[0])) == Counter(outcomes)


def test_what_a_model_wrote_stays_text(parts: _Parts) -> None:
    episodes = json.loads(parts.by_id["episode-data"])["episodes"]
    texts = [s["text"] for e in episodes for s in e["segments"]]
    assert f"{run_folders.HOSTILE}\n{run_folders.CLOSING}" in texts
    assert any(e["question"] == run_folders.CLOSING for e in episodes)
    # Two JSON blocks, plotly and two scripts of ours, one style: nothing closed a script early.
    assert [tag for tag, _ in parts.elements if tag in ("script", "style")] == (
        ["style"] + ["script"] * 5
    )
    assert not [tag for tag, _ in parts.elements if tag in ("img", "b", "iframe", "object")]
    for name in ("figures", "episode-data"):
        assert not re.search(r"[<>&]", parts.by_id[name])
    assert run_folders.HOSTILE in parts.text  # the configuration, escaped


def test_nothing_is_loaded_from_anywhere(parts: _Parts) -> None:
    for tag, attributes in parts.elements:
        assert "src" not in attributes, (tag, attributes)
        assert (attributes.get("href") or "#").startswith(("#", "data:")), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
    style = parts.by_id["style"]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] for t, a in parts.elements if t == "meta" and "content" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")


def test_a_single_run_gives_a_page(single: Path, tmp_path: Path) -> None:
    page = _parse(report.write([single], tmp_path / "r.html"))
    results = json.loads((single / "evaluation/final/results.json").read_text())
    accuracy = results["data"]["generated:arithmetic"]["native"]["accuracy"]
    assert f"At 64 rollouts, EM scores {accuracy:.3f} in native accuracy" in page.text
    figure = json.loads(page.by_id["figures"])["plot-accuracy-0-0"]
    band = next(t for t in figure["data"] if t.get("fill") == "toself")
    last = _metrics(single.parent, "solo")[-1]["eval/accuracy"]
    assert max(band["y"]) == pytest.approx(last + 0.03)


def test_each_domain_has_its_curve_and_stages_their_borders(single: Path, tmp_path: Path) -> None:
    rows = _metrics(single.parent, "solo")
    for row, of_math, of_code in zip(rows[1:], (0.25, 0.5), (0.0, 0.125), strict=True):
        row |= {"domain/math/reward": of_math, "domain/code/reward": of_code, "domain/code/kept": 3}
        row |= {"stage": row["iteration"]}
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (single / "metrics.jsonl").write_text(text)
    page = _parse(report.write([single], tmp_path / "r.html"))
    rewards = json.loads(page.by_id["figures"])["plot-domains-0-0"]
    assert _trace(rewards, "math")["y"] == [0.25, 0.5]
    assert _trace(rewards, "code")["y"] == [0.0, 0.125]
    assert "Code rate of training rollouts: no run has code_rate by domain" in page.text
    (border,) = rewards["layout"]["shapes"]
    assert (border["x0"], border["label"]["text"]) == (32, "stage 2"), "after iteration 1"


def test_metrics_alone_give_a_page_with_notes(single: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    row = {"iteration": 0, "eval/accuracy": 0.25, "eval/oracle": None}
    (bare / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    page = _parse(report.write([bare], tmp_path / "r.html"))
    assert "bare scores 0.250 in native accuracy" in page.text
    for note in ("no strata.json", "no values/", "No episodes/", "no times recorded",
                 "Selection accuracy: no run has eval/selection_accuracy"):  # fmt: skip
        assert note in page.text
    assert json.loads(page.by_id["figures"]).keys() == {"plot-accuracy-0-0"}


def test_final_evaluations_that_cannot_be_compared_are_named(tmp_path: Path) -> None:
    folder = run_folders.write_experiment(tmp_path / "runs", seeds=1)
    for run, turns in (("em-seed0", 1), ("rl-seed0", 2)):
        path = folder / run / "evaluation/final/results.json"
        parts = {"markup": {"max_turns": turns}, "data": ["11"], "grader": {"percent": "unit"}}
        path.write_text(json.dumps({**json.loads(path.read_text()), "comparable": parts}))
    page = _parse(report.write([folder], tmp_path / "r.html"))
    assert "final evaluations not made alike: markup.max_turns." in page.text


def test_runs_of_equal_arm_and_seed_are_told_apart(single: Path, tmp_path: Path) -> None:
    other = run_folders.write_run(
        tmp_path / "again", method="em", seed=7, iterations=2, families=run_folders.FAMILIES
    )
    page = _parse(report.write([single, other], tmp_path / "r.html"))
    assert {e["arm"] for e in json.loads(page.by_id["episode-data"])["episodes"]} == {
        "solo", "again",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("metrics.jsonl", '{"iteration": 3,', r"metrics\.jsonl:4"),
        ("metrics.jsonl", '{"eval/accuracy": 1}', r"metrics\.jsonl:4: needed .* 'iteration'"),
        ("metrics.jsonl", '{"iteration": 3, "a": "b"}', r"metrics\.jsonl:4: 'a' must be a number"),
        ("values/iteration_0002.jsonl", '{"value": [1]}', r"0002\.jsonl:25: 'policy': Field"),
        ("episodes/iteration_0002.jsonl", '{"reward": 1}', r"0002\.jsonl:33: 'problem_id': Field"),
        ("evaluation/final/strata.json", "]", r"strata\.json:1: not valid JSON"),
        ("manifest.json", "]", r"manifest\.json:1: not valid JSON"),
        ("config.yaml", "a: [", r"config\.yaml is not valid YAML"),
    ],
)
def test_a_malformed_file_is_named(
    single: Path, tmp_path: Path, name: str, line: str, message: str
) -> None:
    with (single / name).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=message):
        report.write([single], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_command_writes_the_page(single: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    assert main.main(["report", str(single), "--out", str(out), "--title", "Tiny & true"]) == 0
    assert "Tiny & true" in _parse(out).text


def test_command_refuses_what_is_no_run(
    tmp_path: Path, single: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    page = str(tmp_path / "r.html")
    for run, out, message in (
        (tmp_path / "nowhere", page, "nowhere is not a folder"),
        (tmp_path / "empty", page, "holds no metrics.jsonl and no run folder"),
        (single, str(tmp_path), "is a folder"),
    ):
        assert main.main(["report", str(run), "--out", out]) == 2
        assert message in capsys.readouterr().err


def test_no_jax_is_imported() -> None:
    code = "import sys, acim_jax.cli.report; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
