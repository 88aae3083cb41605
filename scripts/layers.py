"""The rooms of `acim_jax`, what each may import, and how the tree stands today.

    python -m scripts.layers [ROOT]       # rooms, storeys and arrows, lines, the longest functions
    python -m scripts.layers --markdown   # the table of CONTRIBUTING.md and docs/design.md

`ROOMS` is the one list: `tests/test_layers.py` holds the code and both documents against it.
"""

import ast
import graphlib
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PACKAGE = "acim_jax"


class Room(NamedTuple):
    """A folder, or a loose file, of the package.

    holds: one line for readers. below: the rooms, or single modules of them, that it may import.
    jax: whether its modules may import jax; those that `without_jax` names and `config` may not.
    """

    holds: str
    below: str = ""
    jax: bool = True
    without_jax: str = ""

    @property
    def may_import(self) -> tuple[str, ...]:
        return tuple(self.below.split())

    def admits_jax(self, module: str) -> bool:
        """Whether the room's `module` may import jax."""
        return self.jax and module not in ("config", *self.without_jax.split())


#: Sections of a config stand beside their stage; whoever checks a whole config reads them alone.
_SECTIONS = (
    "data.config environment.config evaluation.config explore.config grading.config improve.config "
    "model.config sampling.config sharding.config"
)

#: From the ground up: a room imports only rooms that stand before it.
ROOMS: dict[str, Room] = {
    "bad_input": Room("the error that means: what the user gave is wrong", jax=False),
    "records": Room("the records that carry all data between rooms", jax=False),
    "own_code": Room("functions of the user's own, by file or module and name", jax=False),
    "section": Room("how every section of a config is declared", jax=False),
    "rng": Room("randomness from identity"),
    "files": Room("atomic writes, JSON Lines, atomic folders", jax=False),
    "markup": Room(
        "text ⇄ tokens ⇄ conversation: prompts, decision prefixes, fences, tokenizer",
        "records",
        jax=False,
    ),
    "environment": Room(
        "executes programs in confined processes", "records own_code section", jax=False
    ),
    "data": Room(
        "problems, demonstrations, generated families",
        "records own_code section files markup",
        jax=False,
    ),
    "grading": Room(
        "answers, unit tests, rewards",
        "bad_input records section own_code markup environment data",
        jax=False,
    ),
    "sharding": Room("logical axes, rules, mesh, placement", "section"),
    "model": Room(
        "the decoder, adapters, log-probs of given tokens",
        "section sharding",
        without_jax="rope_scaling",
    ),
    "checkpoint": Room(
        "Hugging Face folders, adapters, run state, which model a run stands on",
        "bad_input files markup sharding model",
        without_jax="model_names",
    ),
    "sampling": Room("tokens out of a policy", "section rng sharding model"),
    "explore": Room(
        "E-step: plan, π̂, Q̂, s*, curation, curriculum",
        "records section rng markup sharding model",
    ),
    "improve": Room(
        "M-step and warm-up: objectives, batches, replay, optimiser step",
        "records section rng markup sharding model",
    ),
    "rollout": Room(
        "the conversation between model and interpreter",
        "records rng files markup environment sharding model sampling",
    ),
    "evaluation": Room(
        "from rollouts to results.json; statistics over seeds",
        "bad_input records own_code section rng files markup environment grading data sharding "
        "model explore rollout",
        without_jax="comparable episode_records over_seeds results_folder selection tables",
    ),
    "config": Room(
        "the whole config of a run or an experiment: read, checked, written, described",
        f"bad_input section {_SECTIONS}",
        jax=False,
    ),
    "em": Room(
        "one EM iteration: the paper's loop",
        "records markup environment grading explore improve rollout config",
    ),
    "planning": Room(
        "memory and compiled functions of a run, without its hardware",
        "records markup sharding model sampling improve explore config",
    ),
    "run": Room(
        "a run from warm-up to final evaluation, experiments, run folders",
        "bad_input records own_code files markup environment grading data sharding model "
        "checkpoint explore improve rollout evaluation config em planning",
        without_jax="folder manifest metrics metric_names stages",
    ),
    "report": Room(
        "the HTML page: data, figures, sections, templates",
        "files markup evaluation run",
        jax=False,
    ),
    "cli": Room(
        "one file a command",
        "bad_input records files markup environment grading data sharding model checkpoint "
        "sampling rollout evaluation config run report",
    ),
}


class Import(NamedTuple):
    """`source` (a file) imports `target` (a dotted name below the package) in `line`."""

    source: Path
    target: str
    line: int


def room_of(path: Path, package: Path) -> str:
    return path.relative_to(package).parts[0].removesuffix(".py")


def sources(package: Path) -> list[Path]:
    return sorted(path for path in package.rglob("*.py") if path != package / "__init__.py")


def imports(path: Path) -> list[tuple[str, int]]:
    """Dotted names of all that a file imports, at any depth; `from a import b` gives `a.b`."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                found += [(alias.name, node.lineno) for alias in names]
            case ast.ImportFrom(module=str(module), names=names, level=0):
                found += [(f"{module}.{alias.name}", node.lineno) for alias in names]
            case ast.ImportFrom():
                raise ValueError(f"{path}:{node.lineno}: relative import; write {PACKAGE}.…")
            case _:
                pass
    return found


def own_imports(package: Path) -> list[Import]:
    """All imports of the package's files from the package itself."""
    return [
        Import(path, name.partition(".")[2], line)
        for path in sources(package)
        for name, line in imports(path)
        if name.startswith(f"{PACKAGE}.") and name != f"{PACKAGE}.__version__"
    ]


def arrows(package: Path) -> dict[str, set[str]]:
    """Room -> the other rooms that it imports."""
    names = {room_of(path, package) for path in sources(package)}
    found: dict[str, set[str]] = {name: set() for name in sorted(names)}
    for one in own_imports(package):
        source, target = room_of(one.source, package), one.target.partition(".")[0]
        if source != target and target in names:
            found[source].add(target)
    return found


def storeys(found: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Room -> its storey: one above the highest that it imports. ValueError for a circle."""
    try:
        order = list(graphlib.TopologicalSorter(found).static_order())
    except graphlib.CycleError as error:
        raise ValueError(f"a circle of imports: {' -> '.join(error.args[1])}") from error
    heights: dict[str, int] = {}
    for room in order:
        heights[room] = 1 + max((heights[below] for below in found[room]), default=0)
    return heights


def functions(path: Path) -> list[tuple[str, int]]:
    """Every function of a file, nested ones too, with its lines from `def` to its end."""
    return [
        (node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def code_lines(path: Path) -> int:
    """Lines that hold code: neither empty, nor comments, nor docstrings."""
    text = path.read_text(encoding="utf-8")
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return sum(
        bool(line.strip()) and not line.strip().startswith("#")
        for number, line in enumerate(text.splitlines(), 1)
        if number not in skipped
    )


def markdown() -> str:
    """The rooms as the table of the documents."""
    lines = ["| room | holds | may import |", "|---|---|---|"]
    for name, room in ROOMS.items():
        shown = room.below.replace(" ", ", ")
        shown = shown.replace(_SECTIONS.replace(" ", ", "), "the sections' `config.py`")
        note = "" if room.jax else " *(no jax)*"
        lines.append(f"| `{name}` | {room.holds}{note} | {shown or '–'} |")
    return "\n".join(lines)


def describe(root: Path) -> str:
    """Rooms, storeys, arrows and sizes of the tree at `root`."""
    package = root / PACKAGE
    found = arrows(package)
    heights = storeys(found)
    lines = [
        f"storey {heights[room]:2d}  {room:<12} imports {', '.join(sorted(found[room])) or '-'}"
        for room in sorted(found, key=lambda room: (-heights[room], room))
    ]
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for part in (PACKAGE, "kernels", "scripts")
        for path in root.joinpath(part).rglob("*")
        if path.suffix in (".py", ".j2", ".js", ".css", ".sh")
    }
    python = [path for path in lengths if path.suffix == ".py"]
    longest = max(python, key=lambda path: lengths[path])
    modules = [lengths[path] for path in python if path.name != "__init__.py"]
    long = sorted(
        ((n, f"{path.relative_to(root)}:{name}") for path in python for name, n in functions(path)),
        reverse=True,
    )
    lines += [
        "",
        f"rooms {len(found)}, storeys {max(heights.values())}, "
        f"arrows {sum(len(targets) for targets in found.values())}, "
        f"imports of single modules {len(own_imports(package))}",
        f"lines {sum(lengths.values())}, of them code {sum(map(code_lines, python))} (Python); "
        f"{len(python)} Python files, median {statistics.median(modules):g}, "
        f"longest {lengths[longest]} ({longest.relative_to(root)})",
        "longest functions: " + ", ".join(f"{name} {n}" for n, name in long[:5]),
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    if arguments == ["--markdown"]:
        print(markdown())
        return
    print(describe(Path(arguments[0]) if arguments else ROOT))


if __name__ == "__main__":
    main(sys.argv[1:])
