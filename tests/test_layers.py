"""The import table of the layers, and the sizes and names of files."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "acim_jax"
MAX_LINES = 500

JAX = {"jax", "jaxlib", "flax", "optax", "orbax", "chex"}
RECORDS = {"records", "markup"}
# Host code that any layer may use: it depends on nothing of ours but itself.
BASE = {"bad_input", "atomic"}
# Who only passes parameters on still names their types: ModelConfig, Params, Layout.
PARAMETERS = {"model.config", "model.transformer", "sharding.axes", "sharding.place"}

#: Layer -> what it may import, as beginnings of dotted names below `acim_jax`.
MAY_IMPORT: dict[str, set[str]] = {
    "bad_input": set(),
    "atomic": set(),
    "records": set(),
    "markup": {"records"},
    "tokenizer": {"markup"},
    "metrics": BASE,
    "rng": set(),
    "compilation": set(),
    "manifest": set(),
    "config_tree": BASE,
    "config_schema": BASE | {"config_tree"},
    "environment": BASE | RECORDS,
    "data": BASE | RECORDS,
    "sharding": set(),
    "model": {"sharding.axes"},
    "checkpoint": BASE | {"markup", "model", "sharding"},
    "sampling": {"model", "sharding", "rng"},
    "improve": {"model", "sharding", "records", "metrics", "rng"},
    "rollout": RECORDS | PARAMETERS | {"sampling", "environment", "tokenizer", "rng"},
    "explore": RECORDS | PARAMETERS | {"model.scoring", "metrics", "rng"},
    "evaluation": BASE
    | RECORDS
    | PARAMETERS
    | {"rollout", "environment", "explore.decisions", "data", "metrics"},
    "planning": {"model", "sampling", "improve", "sharding"},
}
#: They join the layers and may import any of them.
CONDUCTORS = {
    "config", "run_folder", "run_records", "runtime", "model_folder", "lessons", "warming", "em",
    "lora_base", "measure", "training", "launch", "dry_run", "programs", "experiment", "cli",
}  # fmt: skip
WITHOUT_JAX = {
    "bad_input", "atomic", "records", "markup", "metrics", "manifest", "run_folder",
    "config_tree", "config_schema", "tokenizer", "environment", "data",
}  # fmt: skip

SOURCES = sorted(PACKAGE.rglob("*.py"))
ALL_FILES = sorted(
    path
    for folder in ("acim_jax", "kernels", "scripts", "tests")
    for path in ROOT.joinpath(folder).rglob("*.py")
)


def imports(path: Path) -> set[str]:
    """Dotted names of everything a file imports, at any depth; `from a import b` gives `a.b`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module), names=names, level=0):
                found |= {f"{module}.{alias.name}" for alias in names}
            case ast.ImportFrom():
                raise AssertionError(f"{path}:{node.lineno}: relative import; write acim_jax.…")
            case _:
                pass
    return found


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def offences(path: Path) -> list[str]:
    """The imports of one file that its layer does not allow."""
    own = layer(path)
    found: list[str] = []
    for name in sorted(imports(path)):
        parts = name.split(".")
        if parts[0] in JAX and own in WITHOUT_JAX:
            found.append(name)
        if parts[0] == "acim_jax" and own in MAY_IMPORT:
            below = ".".join(parts[1:])
            allowed = MAY_IMPORT[own] | {own, "__version__"}
            if not any(f"{below}.".startswith(f"{prefix}.") for prefix in allowed):
                found.append(name)
    return found


def test_the_layers_import_downwards_only() -> None:
    wrong = {str(p.relative_to(ROOT)): found for p in SOURCES if (found := offences(p))}
    assert wrong == {}


def test_every_layer_has_a_row() -> None:
    assert {layer(path) for path in SOURCES} - {"__init__"} <= MAY_IMPORT.keys() | CONDUCTORS


def test_kernels_import_nothing_of_the_package() -> None:
    for path in (ROOT / "kernels").rglob("*.py"):
        assert not {n for n in imports(path) if n.split(".")[0] == "acim_jax"}, path


@pytest.mark.parametrize(
    ("source", "place", "expected"),
    [
        ("import jax.numpy as jnp\n", "data/x.py", ["jax.numpy"]),
        ("def f():\n    from flax import linen\n", "environment/x.py", ["flax.linen"]),
        ("from acim_jax.improve import fit\n", "explore/x.py", ["acim_jax.improve.fit"]),
        ("from acim_jax import rollout\n", "explore/x.py", ["acim_jax.rollout"]),
        ("from acim_jax.model import scoring, layers\n", "explore/x.py", ["acim_jax.model.layers"]),
        ("import jax\nfrom acim_jax import rng\n", "sampling/x.py", []),
        ("from acim_jax import rollout\nimport jax\n", "em.py", []),
    ],
)
def test_the_check_sees_an_offence(
    source: str, place: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    assert offences(path) == expected


def test_no_file_is_too_long() -> None:
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in ALL_FILES}
    assert len(lengths) > 20
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}


def test_no_module_is_named_like_one_of_the_standard_library() -> None:
    names = {p.stem for p in SOURCES} | {p.parent.name for p in SOURCES}
    assert names & sys.stdlib_module_names - {"__init__"} == set()
