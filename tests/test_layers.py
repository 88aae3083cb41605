"""The import table of the rooms (`scripts/layers.py`), and the sizes and names of files."""

import re
import sys
from pathlib import Path

import pytest

from scripts import layers
from scripts.layers import ROOMS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "acim_jax"
MAX_LINES = 500
MAX_FUNCTION_LINES = 50

JAX = {"jax", "jaxlib", "flax", "optax", "orbax", "chex"}

#: Functions that may be longer, each with its reason.
LONG_FUNCTIONS: dict[str, str] = {}

ALL_FILES = sorted(
    path
    for folder in ("acim_jax", "kernels", "scripts", "tests")
    for path in ROOT.joinpath(folder).rglob("*.py")
)


def may_not_use_jax(path: Path, package: Path) -> bool:
    return not ROOMS[layers.room_of(path, package)].admits_jax(path.stem)


def offences(path: Path, package: Path) -> list[str]:
    """The imports of one file that its room does not allow."""
    own = layers.room_of(path, package)
    allowed = {own, *ROOMS[own].may_import}
    found: list[str] = []
    for name, _ in layers.imports(path):
        root, _, below = name.partition(".")
        if root in JAX and may_not_use_jax(path, package):
            found.append(name)
        if (
            root == "acim_jax"
            and below != "__version__"
            and not any(f"{below}.".startswith(f"{prefix}.") for prefix in allowed)
        ):
            found.append(name)
    return sorted(found)


def test_no_file_imports_what_its_room_may_not() -> None:
    sources = layers.sources(PACKAGE)
    wrong = {str(p.relative_to(ROOT)): found for p in sources if (found := offences(p, PACKAGE))}
    assert wrong == {}


def test_every_room_has_a_row_and_every_row_a_room() -> None:
    assert {layers.room_of(path, PACKAGE) for path in layers.sources(PACKAGE)} == ROOMS.keys()


def test_the_table_has_no_circles() -> None:
    names = list(ROOMS)
    for name, room in ROOMS.items():
        below = names[: names.index(name)]
        assert [t for t in room.may_import if t.partition(".")[0] not in below] == [], name


def test_every_permission_is_used() -> None:
    used = {
        (layers.room_of(one.source, PACKAGE), prefix)
        for one in layers.own_imports(PACKAGE)
        for prefix in (one.target, one.target.rpartition(".")[0], one.target.partition(".")[0])
    }
    idle = {(n, t) for n, room in ROOMS.items() for t in room.may_import if (n, t) not in used}
    assert idle == set()


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/design.md"])
def test_the_documents_hold_the_same_table(document: str) -> None:
    """Write it anew with `python -m scripts.layers --markdown`."""
    assert layers.markdown() in ROOT.joinpath(document).read_text(encoding="utf-8")


def test_kernels_import_nothing_of_the_package() -> None:
    for path in (ROOT / "kernels").rglob("*.py"):
        assert not {n for n, _ in layers.imports(path) if n.split(".")[0] == "acim_jax"}, path


def test_the_tests_mirror_the_rooms() -> None:
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders - {"attacks", "kernels", "system"} <= ROOMS.keys()


@pytest.mark.parametrize(
    ("source", "place", "expected"),
    [
        ("import jax.numpy as jnp\n", "data/x.py", ["jax.numpy"]),
        ("def f():\n    from flax import linen\n", "environment/x.py", ["flax.linen"]),
        ("import optax\n", "improve/config.py", ["optax"]),
        ("from acim_jax.improve import fit\n", "explore/x.py", ["acim_jax.improve.fit"]),
        ("from acim_jax import rollout\n", "explore/x.py", ["acim_jax.rollout"]),
        ("from acim_jax.explore import config, plan\n", "config/x.py", ["acim_jax.explore.plan"]),
        ("from acim_jax.run import training\n", "em.py", ["acim_jax.run.training"]),
        ("import jax\nfrom acim_jax import rng\n", "sampling/x.py", []),
        ("from acim_jax import rollout\nimport jax\n", "em.py", []),
    ],
)
def test_the_check_sees_an_offence(
    source: str, place: str, expected: list[str], tmp_path: Path
) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    assert offences(path, tmp_path) == expected


def test_storeys_count_upwards_and_a_circle_is_named() -> None:
    assert layers.storeys({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"c": 1, "b": 2, "a": 3}
    with pytest.raises(ValueError, match="a -> b -> a"):
        layers.storeys({"a": {"b"}, "b": {"a"}})


def test_no_file_is_too_long() -> None:
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in ALL_FILES}
    assert len(lengths) > 20
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}


def test_no_function_is_too_long() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{name}"
        for path in ALL_FILES
        for name, length in layers.functions(path)
        if length > MAX_FUNCTION_LINES and "tests" not in path.parts
    }
    assert found == LONG_FUNCTIONS.keys()


def test_no_module_is_named_like_one_of_the_standard_library() -> None:
    names = {p.stem for p in layers.sources(PACKAGE)} | {
        p.parent.name for p in layers.sources(PACKAGE)
    }
    assert names & sys.stdlib_module_names - {"__init__"} == set()


def test_the_readme_names_every_room() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    folders = set(re.findall(r"`?(\w+)(?:/|\.py)", readme))
    assert ROOMS.keys() <= folders
