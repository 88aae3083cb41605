"""Statistics over seeds against ones done by hand, and the table that two places show."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from acim_jax.evaluation import over_seeds
from acim_jax.evaluation.over_seeds import Arm, Results, Spread


def _evaluation(folder: Path, problems: list[dict], validation: list[dict] | None = None) -> Path:
    folder.mkdir()
    for name, records in (("problems", problems), ("validation", validation or [])):
        lines = [json.dumps(record) + "\n" for record in records]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    entry = {
        "native": {"n": len(problems), "accuracy": 0.5, "code_rate": 0.25,
                   "executions_per_problem": 0.75},
        "decisions": {"selection_accuracy": 0.6},
    }  # fmt: skip
    data = {"validation": {"text": {"n": 3}}, "test": entry}
    (folder / "results.json").write_text(json.dumps({"data": data}))
    return folder


def _record(stratum: str, text: float, code: float, decision: str) -> dict:
    native = code if decision == "code" else text
    return {"stratum": stratum, "text": text, "code": code, "native": native,
            "decision": decision, "policy_code": 0.1}  # fmt: skip


VALIDATION = [
    _record("mul/1", 0.0, 1.0, "text"), _record("mul/1", 1.0, 1.0, "text"),  # code, by 0.5
    _record("gcd/1", 1.0, 0.0, "text"),  # text, by 1
    *[_record("sum/1", 1.0, 1.0, "text")] * 9, _record("sum/1", 0.0, 1.0, "text"),  # code, by 0.1
]  # fmt: skip
PROBLEMS = [
    _record("mul/1", 0.0, 1.0, "text"),
    _record("gcd/1", 1.0, 0.0, "text"),
    _record("sum/1", 1.0, 0.0, "text"),
    _record("new/1", 1.0, 0.0, "code"),
]


def test_the_oracle_takes_the_better_decision_of_the_validation_problems(tmp_path: Path) -> None:
    start = over_seeds.start_measures(_evaluation(tmp_path / "start", PROBLEMS, VALIDATION))
    assert start["n"] == 4
    assert start["text"]["accuracy"] == 0.75
    assert start["code"]["accuracy"] == 0.25
    assert start["native"]["accuracy"] == 0.5
    # mul by code: right; gcd by text: right; sum by code: wrong; a stratum never seen by text.
    assert start["oracle"]["accuracy"] == 0.75


def test_selection_per_stratum_counts_clear_strata_only(tmp_path: Path) -> None:
    start = _evaluation(tmp_path / "start", PROBLEMS, VALIDATION)
    clear = over_seeds.clear_strata(start)
    assert clear == {"mul/1": "code", "gcd/1": "text"}
    measures = over_seeds.final_measures(start, clear)
    assert measures["stratum_selection_accuracy"] == 0.5
    assert measures["accuracy"] == 0.5
    assert measures["selection_accuracy"] == 0.6
    assert over_seeds.final_measures(start, {})["stratum_selection_accuracy"] is None


def test_spreads_leave_out_seeds_without_a_value() -> None:
    spreads = over_seeds.spreads([{"accuracy": 0.2}, {"accuracy": 0.5}, {"accuracy": None}])
    record = over_seeds.arm_record(spreads)["accuracy"]
    assert record["per_seed"] == [0.2, 0.5, None]
    assert record["mean"] == pytest.approx(0.35)
    assert record["stderr"] == pytest.approx(statistics.stdev([0.2, 0.5]) / 2**0.5)
    assert str(spreads["accuracy"]) == "0.350 ± 0.150"
    assert str(Spread((0.5,))) == "0.500"
    assert (Spread((None,)).mean, str(Spread(()))) == (None, "–")


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    start = over_seeds.start_measures(_evaluation(tmp_path / "start", PROBLEMS, VALIDATION))
    spreads = over_seeds.spreads([{"accuracy": 0.2}, {"accuracy": 0.5}])
    em = {"label": "EM", "rollouts": 2048, "seeds": [0, 1], **over_seeds.arm_record(spreads)}
    path = tmp_path / "results.json"
    content = {"arms": {"em": em}, "start": start, "seconds": 90, "hardware": {"cores": 2}}
    path.write_text(json.dumps(content))
    results = over_seeds.read(path)
    assert results.facts == ["code prior of the start 0.100", "cores: 2", "1.5 minutes in all"]
    assert results.start == {"native": 0.5, "text": 0.75, "code": 0.25, "oracle": 0.75}
    assert results.arms["em"].measures == spreads
    lines = over_seeds.table(results, ("accuracy", "code_rate"))
    assert lines[0] == ("start, decides itself", "–", "–", "0.500", "–")
    assert lines[-1] == ("EM", "2,048", "2", "0.350 ± 0.150", "–")


def test_a_broken_results_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for text in ("]", "{}", '{"start": []}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"results\.json is not the results\.json of an exp"):
            over_seeds.read(path)


def test_sums_and_means_by_iteration() -> None:
    runs = [[{"iteration": 1.0, "a/x": 1.0, "b": 9.0}, {"iteration": 2.0, "a/x": 3.0, "a/y": 2.0}],
            [{"iteration": 1.0, "a/x": 2.0}]]  # fmt: skip
    expected = {"a/x": [3.0, 3.0], "a/y": [0.0, 2.0]}
    assert over_seeds.by_iteration(runs, "a/", mean=False) == ([1, 2], expected)
    expected = {"a/x": [1.5, 3.0], "a/y": [0.0, 2.0]}
    assert over_seeds.by_iteration(runs, "a/", mean=True) == ([1, 2], expected)


def test_seeds_that_ended_apart_are_both_counted() -> None:
    arm = Arm("EM", (32, 96, 32), over_seeds.spreads([{"accuracy": 1.0}]))
    assert over_seeds.table(Results({}, {"em": arm}, None), ("accuracy",)) == [
        ("EM", "32 / 96", "1", "1.000")
    ]


def test_no_jax_is_imported() -> None:
    code = "import sys, acim_jax.evaluation.over_seeds; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
