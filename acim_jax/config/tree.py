"""YAML as a tree that remembers where each value stands, so that a refusal can name the line.

Scalars are read by the rules of YAML 1.2: `1e-4` is a number, `on`, `off`, `yes`, `no` and dates
are text. Duplicate keys, tags and merge keys are refused. A mapping with `extends: other.yaml` is
merged over the document it names.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml

from acim_jax.bad_input import BadInput

EXTENDS = "extends"
TAG = "tag:yaml.org,2002:"


class Tree(NamedTuple):
    """A value and where it came from: `file.yaml:12`, or `--improve.lr` for an option.

    value: a scalar, a `dict[str, Tree]`, or a `list[Tree]`. text: how an option's value was
    written, for fields that want text where YAML would see a number.
    """

    value: object
    where: str
    text: str | None = None

    @property
    def children(self) -> Mapping[str, "Tree"] | None:
        """The fields, if this is a mapping."""
        return cast("dict[str, Tree]", self.value) if isinstance(self.value, dict) else None

    @property
    def elements(self) -> Sequence["Tree"] | None:
        """The elements, if this is a list."""
        return cast("list[Tree]", self.value) if isinstance(self.value, list) else None

    def plain(self) -> object:
        """The scalars, lists and mappings alone."""
        if self.children is not None:
            return {key: child.plain() for key, child in self.children.items()}
        if self.elements is not None:
            return [child.plain() for child in self.elements]
        return self.value

    def find(self, names: Sequence[str | int]) -> tuple["Tree", list[str | int]]:
        """The subtree that `names` lead to, as far as they lead, and the names used."""
        at, used = self, list[str | int]()
        for name in names:
            if isinstance(name, int) and at.elements is not None and name < len(at.elements):
                at = at.elements[name]
            elif isinstance(name, str) and at.children is not None and name in at.children:
                at = at.children[name]
            else:
                break
            used.append(name)
        return at, used

    def leaves(self) -> "Iterator[Tree]":
        """All that is no mapping, from first to last."""
        if self.children is None:
            yield self
        else:
            for child in self.children.values():
                yield from child.leaves()


class CoreLoader(yaml.SafeLoader):
    """PyYAML with the scalar rules of the YAML 1.2 core schema."""


class CoreDumper(yaml.SafeDumper):
    """Quotes exactly what `CoreLoader` would otherwise read back as something else."""

    def ignore_aliases(self, data: object) -> bool:
        return True


_CORE_SCHEMA = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+0123456789."),
    ),
)
for _class in (CoreLoader, CoreDumper):
    _class.yaml_implicit_resolvers = {}  # not the YAML 1.1 rules of the parent
    for _name, _pattern, _first in _CORE_SCHEMA:
        cast(Any, _class).add_implicit_resolver(
            TAG + _name, re.compile(rf"^(?:{_pattern})$"), _first
        )


def load_file(path: Path, extended_by: tuple[Path, ...] = ()) -> Tree:
    """The document at `path`, with what it `extends` merged beneath it. Raises `BadInput`.

    extended_by: the files that led here, each extending the next.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from error
    tree = parse_text(text, str(path))
    return resolve_extends(tree, path.parent, (*extended_by, path.resolve()))


def parse_option(name: str, text: str) -> Tree:
    """The value of the command-line option `--name`, read as YAML."""
    where = f"--{name}"
    return _parse(text, lambda _: where)._replace(text=text)


def parse_text(text: str, source: str) -> Tree:
    """The one YAML document in `text`; `source` names it in refusals."""
    return _parse(text, lambda line: f"{source}:{line + 1}")


def dump(value: object) -> str:
    """YAML of plain scalars, lists and mappings, which `parse_text` reads back unchanged."""
    return yaml.dump(value, Dumper=CoreDumper, sort_keys=False, allow_unicode=True, width=100)


def merge(under: Tree, over: Tree) -> Tree:
    """`over` on top of `under`: mappings are merged field by field, anything else replaces."""
    below, above = under.children, over.children
    if below is None or above is None:
        return over
    merged = dict(below)
    for key, child in above.items():
        merged[key] = merge(merged[key], child) if key in merged else child
    return Tree(merged, over.where)


def place(tree: Tree, path: Sequence[str], leaf: Tree) -> Tree:
    """`tree` with `leaf` at `path`; the mappings on the way keep their place in the file."""
    if not path:
        return merge(tree, leaf)
    children = dict(tree.children or {})
    child = children.get(path[0], Tree({}, leaf.where))
    children[path[0]] = place(child, path[1:], leaf)
    return Tree(children, tree.where)


def resolve_extends(tree: Tree, folder: Path, stack: tuple[Path, ...] = ()) -> Tree:
    """`tree` merged over the document it `extends`, a path relative to `folder`."""
    children = tree.children
    if children is None or EXTENDS not in children:
        return tree
    parent = children[EXTENDS]
    if not isinstance(parent.value, str):
        raise BadInput(f"{parent.where}: {EXTENDS}: expected the path of a YAML file")
    target = (folder / parent.value).resolve()
    if target in stack:
        chain = " -> ".join(p.name for p in (*stack, target))
        raise BadInput(f"{parent.where}: {EXTENDS}: files extend one another in a circle: {chain}")
    if not target.is_file():
        raise BadInput(f"{parent.where}: {EXTENDS}: no such file: {target}")
    own = {key: child for key, child in children.items() if key != EXTENDS}
    return merge(load_file(target, stack), Tree(own, tree.where))


def _parse(text: str, locate: Callable[[int], str]) -> Tree:
    try:
        node = cast(Any, yaml).compose(text, Loader=CoreLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else 0
        raise BadInput(f"{locate(line)}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{locate(0)}: not valid YAML: {error}") from error
    return Tree(None, locate(0)) if node is None else _from_node(node, locate, ())


def _from_node(node: Any, locate: Callable[[int], str], above: tuple[object, ...]) -> Tree:
    where = locate(node.start_mark.line)
    if any(node is parent for parent in above):
        raise BadInput(f"{where}: an alias contains itself")
    above = (*above, node)
    match node:
        case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
            children: dict[str, Tree] = {}
            for key_node, value_node in node.value:
                # A refusal names the line of the key, also where the value begins below it.
                at = locate(key_node.start_mark.line)
                if not isinstance(key_node, yaml.ScalarNode):
                    raise BadInput(f"{at}: a field's name must be plain text")
                key = str(key_node.value)
                if key in children:
                    raise BadInput(f"{at}: {key}: given twice (first at {children[key].where})")
                children[key] = _from_node(value_node, locate, above)._replace(where=at)
            return Tree(children, where)
        case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
            return Tree([_from_node(child, locate, above) for child in node.value], where)
        case yaml.ScalarNode():
            return Tree(_scalar(node.tag.removeprefix(TAG), node.value, where), where)
        case _:
            raise BadInput(f"{where}: the tag {node.tag} is not allowed")


def _scalar(tag: str, text: str, where: str) -> object:
    try:
        match tag:
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
            case "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
            case "str":
                return text
            case _:
                pass
    except ValueError as error:
        raise BadInput(f"{where}: not a number that can be read: {text[:40]}") from error
    raise BadInput(f"{where}: the tag {tag} is not allowed")
