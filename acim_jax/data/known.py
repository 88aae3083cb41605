"""Data sets known by name: where they stand on the hub, and how their own rows become ours.

A row in a data set's own form is recognised by its fields, in a local file as well as on the hub.
Field names, splits and answer forms are those of the repositories named here.
"""

import dataclasses
from collections.abc import Callable, Mapping

from acim_jax.data import answer_forms as forms
from acim_jax.data.rows import Row

Convert = Callable[[Row, str], dict[str, object]]


@dataclasses.dataclass(frozen=True)
class Form:
    """A data set's own form of a row.

    fields: what tells it from others. convert: the row in our fields, `id` the data set's own if it
    has one; ValueError, beginning with the place, for a value in another form. mark: a text that
    stands in the field `answer`, where the fields alone say too little.
    """

    fields: frozenset[str]
    convert: Convert
    mark: str = ""

    def fits(self, row: Row) -> bool:
        return self.fields <= row.keys() and self.mark in str(row.get("answer"))


@dataclasses.dataclass(frozen=True)
class HubData:
    """Where a data set stands on the hub. configs: all are read, one after another, and their rows
    are counted through. splits: our split -> the hub's."""

    repository: str
    configs: tuple[str | None, ...]
    splits: Mapping[str, str]
    convert: Convert


def _gsm8k(row: Row, where: str) -> dict[str, object]:
    """`answer` is the worked solution, with calculator marks, and ends in `#### 18`."""
    solution, answer = forms.after_hashes(row["answer"], f"{where}: answer")
    return {"problem": row["question"], "answer": answer, "solution": solution}


def _math(row: Row, where: str) -> dict[str, object]:
    r"""The answer is the last `\boxed` of the solution."""
    return {
        "problem": row["problem"],
        "answer": forms.last_boxed(row["solution"], f"{where}: solution"),
        "subject": row.get("type") or row.get("subject"),
        "level": forms.level(row.get("level")),
        "solution": row["solution"],
    }


def _math500(row: Row, where: str) -> dict[str, object]:
    own = str(row["unique_id"]).removesuffix(".json")
    return {"id": own, "problem": row["problem"], "answer": row["answer"]}


def _competition(row: Row, where: str) -> dict[str, object]:
    """AIME's and AMC's answers are whole numbers: `027`, 27, 27.0."""
    problem = row["problem"] if row.get("problem") is not None else row["question"]
    answer = forms.number(row["answer"], f"{where}: answer")
    return {"id": row.get("id"), "problem": problem, "answer": answer}


def _olympiadbench(row: Row, where: str) -> dict[str, object]:
    return {
        "id": row.get("id"),
        "problem": row["question"],
        "answer": forms.listed(row["final_answer"], f"{where}: final_answer"),
        "subject": row.get("subfield"),
    }


def _svamp(row: Row, where: str) -> dict[str, object]:
    return {
        "id": row.get("ID"),
        "problem": f"{row['Body']} {row['Question']}",
        "answer": forms.number(row["Answer"], f"{where}: Answer"),
        "subject": row.get("Type"),
        "solution": row.get("Equation"),
    }


def _mbpp(row: Row, where: str) -> dict[str, object]:
    """The tests stand in the question, as in the data set's paper: they alone name the function."""
    tests = row["test_list"]
    lines = [line for line in tests if isinstance(line, str)] if isinstance(tests, list) else []
    text = row["text"] if row.get("text") is not None else row.get("prompt")
    question = f"{text}\nYour code should pass these tests:\n" + "\n".join(lines)
    imports = row.get("test_imports")
    setup = "\n".join(map(str, imports)) if isinstance(imports, list) else ""
    return {
        "id": row["task_id"],
        "problem": question,
        "answer": row["code"],
        "tests": tests,
        "test_setup": row.get("test_setup_code") or setup,
        "challenge_tests": row.get("challenge_test_list"),
    }


def _humaneval(row: Row, where: str) -> dict[str, object]:
    return {
        "id": str(row["task_id"]).removeprefix("HumanEval/"),
        "problem": row["prompt"],
        "answer": row["canonical_solution"],
        "tests": [row["test"]],
        "entry_point": row["entry_point"],
    }


_ROWS = {
    "humaneval": Form(frozenset(["task_id", "prompt", "canonical_solution", "test"]), _humaneval),
    "mbpp": Form(frozenset(["task_id", "code", "test_list"]), _mbpp),
    "svamp": Form(frozenset(["Body", "Question", "Answer"]), _svamp),
    "olympiadbench": Form(frozenset(["question", "final_answer"]), _olympiadbench),
    "math500": Form(frozenset(["problem", "answer", "unique_id"]), _math500),
    "math": Form(frozenset(["problem", "solution", "level", "type"]), _math),
    "gsm8k": Form(frozenset(["question", "answer"]), _gsm8k, mark="####"),
    "amc23": Form(frozenset(["question", "answer", "url"]), _competition),
}

_TRAIN_TEST = {"train": "train", "test": "test"}
_MBPP = _TRAIN_TEST | {"validation": "validation", "prompt": "prompt"}
_MATH = (
    "algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory",
    "prealgebra", "precalculus",
)  # fmt: skip

HUB: Mapping[str, HubData] = {
    "gsm8k": HubData("openai/gsm8k", ("main",), _TRAIN_TEST, _gsm8k),
    "math": HubData("EleutherAI/hendrycks_math", _MATH, _TRAIN_TEST, _math),
    "math500": HubData("HuggingFaceH4/MATH-500", (None,), {"test": "test"}, _math500),
    "aime24": HubData("HuggingFaceH4/aime_2024", (None,), {"test": "train"}, _competition),
    "aime25": HubData("math-ai/aime25", (None,), {"test": "test"}, _competition),
    "amc23": HubData("math-ai/amc23", (None,), {"test": "test"}, _competition),
    "olympiadbench": HubData(
        "Hothan/OlympiadBench", ("OE_TO_maths_en_COMP",), {"test": "train"}, _olympiadbench
    ),
    "svamp": HubData("ChilleD/SVAMP", (None,), _TRAIN_TEST, _svamp),
    "mbpp": HubData("google-research-datasets/mbpp", ("full",), _MBPP, _mbpp),
    "humaneval": HubData("openai/openai_humaneval", (None,), {"test": "test"}, _humaneval),
}


def from_hub(name: str, row: Row, split: str, number: int, where: str) -> Row:
    """A row of the known data set `name` in our fields; number: its place in the split, from 0."""
    try:
        made = HUB[name].convert(row, where)
    except KeyError as error:
        raise ValueError(
            f"{where}: {name} has a field {error}, this row has {', '.join(sorted(row))}."
        ) from error
    own = made.get("id")
    identifier = f"{name}/{split}/{number}" if own is None else f"{name}/{own}"
    return {**row, **made, "id": identifier, "source": name}


def recognised(row: Row, number: int, where: str) -> Row:
    """A row in the form of a known data set in our fields; any other row as it is.

    number: stands for an id where neither the row nor the data set has one. A row that has our
    `id`, `problem` and `answer` is ours.
    """
    if {"id", "problem", "answer"} <= row.keys():
        return row
    for name, form in _ROWS.items():
        if form.fits(row):
            made = form.convert(row, where)
            own = number if made.get("id") is None else made["id"]
            identifier = row["id"] if row.get("id") is not None else f"{name}/{own}"
            return {**row, **made, "id": identifier, "source": row.get("source") or name}
    return row
