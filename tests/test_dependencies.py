"""Every distribution that the code imports is declared in pyproject.toml."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OWN = {"acim_jax", "acim_kernels", "scripts", "tests", "cheating_programs"}
#: Peers and references that benchmarks and golden files are made with; installed by hand, where
#: the scripts say so, since some need torch.
BY_HAND = {"torch", "peft", "tunix", "pebble"}
#: Extras that bring what an optional import of the package needs.
OPTIONAL = {"reasoning-gym"}
IMPORTERS = {"import_module", "importorskip"}


def imported(*folders: str) -> dict[str, set[str]]:
    """Top-level modules of others -> the files that import them, by statement or by call."""
    found: dict[str, set[str]] = {}
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import(names=names):
                    modules = [alias.name for alias in names]
                case ast.ImportFrom(module=str(module), level=0):
                    modules = [module]
                case ast.Call(func=ast.Attribute(attr=name), args=[ast.Constant(str(module)), *_]):
                    modules = [module] if name in IMPORTERS else []
                case _:
                    modules = []
            for module in modules:
                top = module.partition(".")[0]
                if top not in sys.stdlib_module_names and top not in OWN:
                    found.setdefault(top, set()).add(str(path.relative_to(ROOT)))
    return found


def declared() -> dict[str, set[str]]:
    """Extra ("" for the dependencies proper) -> normalised names of distributions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = {"": project["dependencies"], **project["optional-dependencies"]}
    return {
        extra: {normal(re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0]) for line in lines}
        for extra, lines in lists.items()
    }


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    ("folders", "extras"),
    [(("acim_jax", "kernels"), {""} | OPTIONAL), (("scripts", "tests"), {"", "dev"} | OPTIONAL)],
)
def test_what_is_imported_is_declared(folders: tuple[str, ...], extras: set[str]) -> None:
    lists = declared()
    allowed = set().union(*(lists[extra] for extra in extras))
    distributions = importlib.metadata.packages_distributions()
    undeclared = {
        module: files
        for module, files in imported(*folders).items()
        if module not in BY_HAND
        and not allowed & {normal(name) for name in distributions.get(module, [module])}
    }
    assert not undeclared


def test_the_package_itself_needs_nothing_by_hand() -> None:
    assert not BY_HAND & imported("acim_jax", "kernels").keys()
    assert imported("scripts", "tests/support").keys() >= BY_HAND, "what is listed is imported"
