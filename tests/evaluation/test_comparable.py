"""The fingerprint of what makes two numbers comparable."""

import copy
from typing import Any

import pytest

from acim_jax.evaluation import comparable

SETTINGS: dict[str, Any] = {
    "model": "/home/a/model", "step": 3, "weights": "abc", "seed": 0, "samples": 4, "slots": 8,
    "decisions": ["native"], "data": {"/home/a/x.jsonl": "11", "/home/a/y.jsonl": "22"},
    "temperature": 0.7, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "max_length": 512,
    "dtype": "float32",
    "markup": {"template": "plain", "max_turns": 2, "stop": (), "text_hint": "a", "code_hint": ""},
    "executor": {"timeout_s": 5.0, "modules": ("numpy",), "waiting": 9, "max_infra_rate": 0.1,
                 "min_protection": "limits"},
    "grader": {"percent": "either", "timeout_s": 5.0, "reward": "a/r.py:f"},
    "own": {"reward": "f 12ab"},
}  # fmt: skip


def changed(path: str, value: object) -> dict[str, Any]:
    settings = copy.deepcopy(SETTINGS)
    *above, name = path.split(".")
    at = settings
    for one in above:
        at = at[one]
    at[name] = value
    return settings


def digest(settings: dict[str, Any]) -> str:
    return comparable.fingerprint(comparable.parts(settings))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model", "b"), ("weights", "d"), ("seed", 1), ("samples", 1), ("slots", 16),
        ("executor.waiting", 1), ("markup.text_hint", "b"),
        ("data", {"C:\\y.jsonl": "22", "x.jsonl.gz": "11"}),
        ("grader", {"timeout_s": 5.0, "reward": "b.r:f", "percent": "either"}),
    ],
)  # fmt: skip
def test_order_paths_models_and_machines_change_nothing(path: str, value: object) -> None:
    assert digest(changed(path, value)) == digest(SETTINGS)


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        ("markup.max_turns", 3, "markup.max_turns"),
        ("grader.percent", "unit", "grader.percent"),
        ("own.reward", "f 34cd", "own.reward"),
        ("executor.modules", ("numpy", "sympy"), "executor.modules"),
        ("temperature", 0.0, "sampling.temperature"),
        ("data", {"/home/a/x.jsonl": "11"}, "data"),
    ],
)
def test_what_decides_a_number_changes_it_and_is_named(path: str, value: object, name: str) -> None:
    other = changed(path, value)
    assert digest(other) != digest(SETTINGS)
    both = [comparable.parts(settings) for settings in (SETTINGS, other)]
    assert comparable.differing(both) == [name]


def test_a_package_version_is_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = comparable.parts(SETTINGS)
    assert set(before["versions"]) == {"acim-jax", "jax", "transformers", "math-verify"}
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"{name} 99")
    assert [n.partition(".")[0] for n in comparable.differing([before, comparable.parts(SETTINGS)])
            ] == ["versions"] * 4  # fmt: skip
