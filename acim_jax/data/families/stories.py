"""Families told in words. In two of them the natural program needs a module that the executor does
not offer (its list: numpy, sympy, mpmath and the standard library)."""

import itertools
import random

from acim_jax.data.families.case import Case, case, missing_module, printed_or_not, with_digits

NAMES = ("Ann", "Bob", "Cat", "Dan", "Eve", "Fay", "Gus", "Hal", "Ivy", "Jon", "Kim", "Leo")
THINGS = ("apples", "books", "coins", "cards", "pens", "shells")
#: Larger unit, smaller unit, how many of the smaller make the larger.
UNITS = (
    ("m", "cm", 100),
    ("km", "m", 1000),
    ("kg", "g", 1000),
    ("cm", "mm", 10),
    ("t", "kg", 1000),
    ("l", "ml", 1000),
)


def word(rng: random.Random, level: int) -> Case:
    """One-step stories: buying (+), giving away (-), bags (*); numbers up to 9, 20, 50."""
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    a, b = (rng.randint(2, (9, 20, 50)[level]) for _ in range(2))
    match rng.choice("+-*"):
        case "+":
            story, step, value = f"{name} has {a} {thing} and buys {b} more.", f"{a}+{b}", a + b
        case "-":
            a, b = max(a, b) + 1, min(a, b)
            story, step, value = f"{name} has {a} {thing} and gives away {b}.", f"{a}-{b}", a - b
        case _:
            b = rng.randint(2, 5)
            story, step, value = f"{name} has {b} bags with {a} {thing} each.", f"{b}*{a}", a * b
    question = f"{story} How many {thing} does {name} have?"
    key = (name, thing, step)
    programs = printed_or_not(step, value)
    return case(key, question, value, chain=f"{step}={value}.", programs=programs)


def order(rng: random.Random, level: int) -> Case:
    """Who is the tallest or shortest of 2, 3 or 4; the facts go from tall to short or back. The
    program sorts the facts as a graph with networkx, which the executor does not offer."""
    names = rng.sample(NAMES, level + 2)
    pairs = list(itertools.pairwise(names))
    if rng.random() < 0.5:
        pairs.reverse()
    asked, position = rng.choice((("tallest", 0), ("shortest", -1)))
    facts = " ".join(f"{tall} is taller than {short}." for tall, short in pairs)
    edges = ",".join(f"('{tall}','{short}')" for tall, short in pairs)
    program = (
        "import networkx as nx\n"
        f"print(list(nx.topological_sort(nx.DiGraph([{edges}])))[{position}])"
    )
    return case(
        tuple(names),
        f"{facts} Who is the {asked}?",
        names[position],
        chain=">".join(names) + ".",
        programs=(missing_module(program, "networkx"),),
    )


def units(rng: random.Random, level: int) -> Case:
    """Unit conversions by powers of ten: up to 30 (0), 3 digits (1), one decimal place (2). The
    program uses pint, which the executor does not offer."""
    large, small, factor = rng.choice(UNITS)
    match level:
        case 0:
            tenths = 10 * rng.randint(2, 30)
        case 1:
            tenths = 10 * with_digits(rng, 3)
        case _:
            tenths = 10 * rng.randint(1, 99) + rng.randint(1, 9)
    amount = f"{tenths // 10}.{tenths % 10}" if tenths % 10 else str(tenths // 10)
    value = tenths * factor // 10
    question = rng.choice(
        (f"Convert {amount} {large} to {small}.", f"How many {small} are {amount} {large}?")
    )
    program = f"import pint\nprint(pint.Quantity('{amount} {large}').to('{small}').m)"
    return case(
        (amount, large, small),
        question,
        value,
        chain=f"{amount}*{factor}={value}.",
        programs=(missing_module(program, "pint"),),
    )
