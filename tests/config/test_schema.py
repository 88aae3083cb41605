"""The generic loader: YAML with places, strict dataclasses, messages that name the line."""

# The table of refusals reads best with one case a line.
# ruff: noqa: E501

import dataclasses
import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from acim_jax.bad_input import BadInput
from acim_jax.config import schema
from acim_jax.config import tree as config_tree
from acim_jax.section import section


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


@section
class Inner:
    lr: float = 0.1
    steps: int = 3
    on: bool = False
    mode: Literal["fast", "slow"] = "fast"
    widths: tuple[int, ...] = (16, 48)
    shape: tuple[float, str] = (1.0, "a")
    alpha: float | None = None
    folder: Path | None = None
    colour: Colour = Colour.RED
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"lr must be positive, got {self.lr}.")
        if self.steps < 0:
            raise ValueError("on what are negative steps?")


@section
class Outer:
    name: str
    inner: Inner = dataclasses.field(default_factory=Inner)
    more: tuple[Inner, ...] = ()
    named: Mapping[str, Inner] = dataclasses.field(default_factory=dict[str, Inner])
    maybe: Inner | None = None


def outer(text: str) -> Outer:
    return schema.build(Outer, config_tree.parse_text(text, "c.yaml"))


def refusal(text: str) -> str:
    with pytest.raises(BadInput) as caught:
        outer(text)
    return str(caught.value)


def test_every_kind_of_field_is_read() -> None:
    text = """
name: "7"
inner: {lr: 1e-4, steps: 0x10, on: true, mode: slow, widths: [1, 2], shape: [2, b], alpha: 3}
more:
  - lr: 5
  - {colour: blue, folder: a/b, rates: {x: .5, y: 1}}
named: {first: {steps: 0}}
"""
    assert outer(text) == Outer(
        name="7",
        inner=Inner(1e-4, 16, True, "slow", (1, 2), (2.0, "b"), 3.0),
        more=(
            Inner(lr=5.0),
            Inner(colour=Colour.BLUE, folder=Path("a/b"), rates={"x": 0.5, "y": 1}),
        ),
        named={"first": Inner(steps=0)},
    )
    assert isinstance(outer(text).more[0].lr, float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\ninner:\n  lr: 1\n  setps: 3\n", 'c.yaml:4: inner.setps: unknown field; did you mean "steps"?'),
        ("name: a\ninner: {lr: abc}\n", 'c.yaml:2: inner.lr: expected a number, got the string "abc"'),
        ("name: a\ninner: {lr: '1'}\n", 'c.yaml:2: inner.lr: expected a number, got the string "1"'),
        ("name: a\ninner: {lr: .nan}\n", "c.yaml:2: inner.lr: expected a number, got the number nan"),
        ("name: a\ninner: {steps: 1.5}\n", "c.yaml:2: inner.steps: expected a whole number, got the number 1.5"),
        ("name: a\ninner: {steps: true}\n", "c.yaml:2: inner.steps: expected a whole number, got true"),
        ("name: a\ninner: {on: yes}\n", 'c.yaml:2: inner.on: expected true or false, got the string "yes"'),
        ("name: a\ninner: {on: 1}\n", "c.yaml:2: inner.on: expected true or false, got the number 1"),
        ("name: 3\n", "c.yaml:1: name: expected a string, got the number 3"),
        ("name: a\ninner: {mode: slwo}\n", 'c.yaml:2: inner.mode: expected one of fast, slow, got the string "slwo"; did you mean "slow"?'),
        ("name: a\ninner: {colour: green}\n", 'c.yaml:2: inner.colour: expected one of red, blue, got the string "green"'),
        ("name: a\ninner:\n  widths:\n  - 1\n  - x\n", 'c.yaml:5: inner.widths[1]: expected a whole number, got the string "x"'),
        ("name: a\ninner: {widths: 3}\n", "c.yaml:2: inner.widths: expected a list of whole numbers, got the number 3"),
        ("name: a\ninner: {rates: {x: y}}\n", 'c.yaml:2: inner.rates.x: expected a number, got the string "y"'),
        ("name: a\ninner:\n", "c.yaml:2: inner: expected a mapping of fields, got nothing (null)"),
        ("name: a\n\ninner: {lr: -1}\n", "c.yaml:3: inner: lr must be positive, got -1.0."),
        ("name: a\nmore:\n- {}\n- lr: 0\n", "c.yaml:4: more[1]: lr must be positive, got 0.0."),
        ("name: a\nmaybe: {lrr: 1}\n", 'c.yaml:2: maybe.lrr: unknown field; did you mean "lr"?'),
        ("inner: {}\n", "c.yaml:1: name: this field is required"),
        ("- 1\n", "c.yaml:1: expected a mapping of fields, got a list"),
        ("name: a\nname: b\n", "c.yaml:2: name: given twice (first at c.yaml:1)"),
        ("name: a\ninner: &x {lr: 1}\nmaybe: {<<: *x}\n", "c.yaml:3: maybe.<<: unknown field; the fields here are lr,"),
        ("name: a\ninner: [1,\n", "c.yaml:3: not valid YAML:"),
        ("name: !!python/name:os.system x\n", "c.yaml:1: the tag python/name:os.system is not allowed"),
        ("name: &a [*a]\n", "c.yaml:1: an alias contains itself"),
        ("? [1]\n: 2\n", "c.yaml:1: a field's name must be plain text"),
        ("name: !!int abc\n", "c.yaml:1: not a number that can be read: abc"),
    ],
)  # fmt: skip
def test_a_refusal_names_place_and_field(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


def test_every_error_is_listed_in_the_order_of_the_file() -> None:
    text = """
name: 3
named: {a: {lr: 0}}
inner:
  setps: 3
  widths: [1, x, 2, y]
more: [{lr: 1}, {mode: slwo}, 7]
"""
    assert refusal(text).splitlines() == [
        "c.yaml:2: name: expected a string, got the number 3",
        "c.yaml:3: named.a: lr must be positive, got 0.0.",
        'c.yaml:5: inner.setps: unknown field; did you mean "steps"?',
        'c.yaml:6: inner.widths[1]: expected a whole number, got the string "x"',
        'c.yaml:6: inner.widths[3]: expected a whole number, got the string "y"',
        'c.yaml:7: more[1].mode: expected one of fast, slow, got the string "slwo"; did you mean '
        '"slow"?',
        "c.yaml:7: more[2]: expected a mapping of fields, got the number 7",
    ]


def test_an_option_is_named_in_place_of_a_file() -> None:
    base = config_tree.parse_text("name: a\ninner: {steps: 2}\n", "c.yaml")

    def with_option(name: str, text: str) -> Outer:
        tree = config_tree.place(base, name.split("."), config_tree.parse_option(name, text))
        return schema.build(Outer, tree)

    assert with_option("inner.lr", "1e-4").inner == Inner(lr=1e-4, steps=2)
    assert with_option("inner.widths", "[4, 5]").inner.widths == (4, 5)
    assert with_option("name", "12").name == "12"  # what was typed, where text is wanted
    with pytest.raises(BadInput, match=r'^--inner.lr: expected a number, got the string "abc"$'):
        with_option("inner.lr", "abc")
    with pytest.raises(BadInput, match=r'^--inner.stepz: unknown field; did you mean "steps"\?$'):
        with_option("inner.stepz", "1")
    with pytest.raises(BadInput, match=r"^--inner.lr: inner: lr must be positive, got -1.0.$"):
        with_option("inner.lr", "-1")
    with pytest.raises(BadInput, match=r"^c.yaml:2: inner: on .* by option: --inner.steps\)$"):
        with_option("inner.steps", "-1")


def test_extends_merges_deeply_and_names_the_right_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "base.yaml").write_text(
        "name: base\ninner:\n  lr: 1\n  widths: [1, 2, 3]\n"
    )
    child = tmp_path / "child.yaml"
    child.write_text("extends: sub/base.yaml\ninner:\n  widths: [9]\n")
    built = schema.build(Outer, config_tree.load_file(child))
    assert built == Outer(name="base", inner=Inner(lr=1.0, widths=(9,)))

    (tmp_path / "sub" / "base.yaml").write_text("name: base\ninner:\n  lr: x\n")
    with pytest.raises(BadInput, match=r"sub/base.yaml:3: inner.lr: expected a number"):
        schema.build(Outer, config_tree.load_file(child))


def test_extends_in_a_circle_and_of_nothing(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("extends: two.yaml\n")
    two.write_text("name: x\nextends: one.yaml\n")
    with pytest.raises(BadInput, match=r"two.yaml:2: .*circle: one.yaml -> two.yaml -> one.yaml"):
        config_tree.load_file(one)
    two.write_text("extends: three.yaml\n")
    with pytest.raises(BadInput, match=r"two.yaml:1: extends: no such file: .*three.yaml"):
        config_tree.load_file(one)
    with pytest.raises(BadInput, match=r"four.yaml: no such file"):
        config_tree.load_file(tmp_path / "four.yaml")
    (tmp_path / "four.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(BadInput, match=r"four.yaml: cannot be read"):
        config_tree.load_file(tmp_path / "four.yaml")


# PyYAML itself does not keep some control characters; a config has no use for them.
texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]) | st.sampled_from("\n\t")
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts


@settings(max_examples=100, deadline=None)
@given(st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)))
def test_what_is_dumped_reads_back_unchanged(value: object) -> None:
    back = config_tree.parse_text(config_tree.dump(value), "dumped").plain()
    assert back == value and repr(back) == repr(value)


@pytest.mark.parametrize("text", ["1e-4", "yes", "null", "0x1F", "2024-01-01", "", "~", ".5", "<<"])
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    written = config_tree.dump(schema.plain(Outer(name=text, inner=Inner(folder=Path("p")))))
    assert outer(written).name == text
    # PyYAML's own loader (YAML 1.1) does not read `1e-4` as a number: ours must say so itself.
    assert yaml.safe_load("1e-4") == "1e-4"
