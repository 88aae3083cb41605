"""Data sets of the Hugging Face hub, and how the records of those known by name become ours.

A record in a data set's own form is recognised by its fields, in a local file as well as on the
hub. Field names, splits and answer forms are those of the repositories named here.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import cast

from acim_jax.data import answer_forms as forms
from acim_jax.data.problem_records import Record

Convert = Callable[[Record, str], dict[str, object]]


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A data set on the hub.

    convert: a record in our fields, `id` the data set's own if it has one; ValueError, beginning
    with the place, for a value in another form. fields: a local record that has them all, and
    `mark` in its `answer`, has this form; without fields none is recognised. configs: all are read,
    one after another; their records are numbered consecutively. splits: our split -> the hub's.
    """

    repository: str
    convert: Convert
    fields: tuple[str, ...] = ()
    mark: str = ""
    configs: tuple[str | None, ...] = (None,)
    splits: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"test": "test"})

    def fits(self, record: Record) -> bool:
        named = bool(self.fields) and set(self.fields) <= record.keys()
        return named and self.mark in str(record.get("answer"))


def _gsm8k(record: Record, where: str) -> dict[str, object]:
    """`answer` is the worked solution, with calculator marks, and ends in `#### 18`."""
    solution, answer = forms.after_hashes(record["answer"], f"{where}: answer")
    return {"problem": record["question"], "answer": answer, "solution": solution}


def _math(record: Record, where: str) -> dict[str, object]:
    r"""The answer is the last `\boxed` of the solution, unless the record states one."""
    answer = record.get("answer")
    if answer is None:
        answer = forms.last_boxed(record["solution"], f"{where}: solution")
    return {
        "problem": record["problem"],
        "answer": answer,
        "subject": record.get("type") or record.get("subject"),
        "level": forms.level(record.get("level")),
        "solution": record["solution"],
    }


def _math500(record: Record, where: str) -> dict[str, object]:
    own = str(record["unique_id"]).removesuffix(".json")
    return {"id": own, "problem": record["problem"], "answer": record["answer"]}


def _competition(record: Record, where: str) -> dict[str, object]:
    """AIME's and AMC's answers are whole numbers: `027`, 27, 27.0."""
    problem = record["problem"] if record.get("problem") is not None else record["question"]
    answer = forms.number(record["answer"], f"{where}: answer")
    return {"id": record.get("id"), "problem": problem, "answer": answer}


def _olympiadbench(record: Record, where: str) -> dict[str, object]:
    answer = record.get("answer")
    if answer is None:
        answer = forms.listed(record["final_answer"], f"{where}: final_answer")
    return {
        "id": record.get("id"),
        "problem": record["question"],
        "answer": answer,
        "subject": record.get("subfield"),
    }


def _svamp(record: Record, where: str) -> dict[str, object]:
    answer = record["Answer"] if record.get("answer") is None else record["answer"]
    return {
        "id": record.get("ID"),
        "problem": f"{record['Body']} {record['Question']}",
        "answer": forms.number(answer, f"{where}: Answer"),
        "subject": record.get("Type"),
        "solution": record.get("Equation"),
    }


def _mbpp(record: Record, where: str) -> dict[str, object]:
    """The tests stand in the question, as in the data set's paper: they alone name the function."""
    tests = record["test_list"]
    lines = [line for line in tests if isinstance(line, str)] if isinstance(tests, list) else []
    text = record["text"] if record.get("text") is not None else record.get("prompt")
    question = f"{text}\nYour code should pass these tests:\n" + "\n".join(lines)
    imports = record.get("test_imports")
    setup = "\n".join(map(str, imports)) if isinstance(imports, list) else ""
    return {
        "id": record["task_id"],
        "problem": question,
        "answer": record["code"],
        "tests": tests,
        "test_setup": record.get("test_setup_code") or setup,
        "challenge_tests": record.get("challenge_test_list"),
    }


def _humaneval(record: Record, where: str) -> dict[str, object]:
    return {
        "id": str(record["task_id"]).removeprefix("HumanEval/"),
        "problem": record["prompt"],
        "answer": record["canonical_solution"],
        "tests": [record["test"]],
        "entry_point": record["entry_point"],
    }


_TRAIN_TEST = {"train": "train", "test": "test"}
_TEST_IS_TRAIN = {"test": "train"}
_MATH = (
    "algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory",
    "prealgebra", "precalculus",
)  # fmt: skip

#: The first form that a record fits is its own.
DATA_SETS: Mapping[str, DataSet] = {
    "olympiadbench": DataSet(
        "Hothan/OlympiadBench", _olympiadbench, ("question", "final_answer"),
        configs=("OE_TO_maths_en_COMP",), splits=_TEST_IS_TRAIN,
    ),
    "gsm8k": DataSet(
        "openai/gsm8k", _gsm8k, ("question", "answer"), "####", ("main",), _TRAIN_TEST
    ),
    "math500": DataSet("HuggingFaceH4/MATH-500", _math500, ("problem", "answer", "unique_id")),
    "math": DataSet(
        "EleutherAI/hendrycks_math", _math, ("problem", "solution", "level", "type"),
        configs=_MATH, splits=_TRAIN_TEST,
    ),
    "aime24": DataSet("HuggingFaceH4/aime_2024", _competition, splits=_TEST_IS_TRAIN),
    "aime25": DataSet("math-ai/aime25", _competition),
    "amc23": DataSet("math-ai/amc23", _competition, ("question", "answer", "url")),
    "svamp": DataSet("ChilleD/SVAMP", _svamp, ("Body", "Question", "Answer"), splits=_TRAIN_TEST),
    "mbpp": DataSet(
        "google-research-datasets/mbpp", _mbpp, ("task_id", "code", "test_list"),
        configs=("full",), splits={s: s for s in ("train", "test", "validation", "prompt")},
    ),
    "humaneval": DataSet(
        "openai/openai_humaneval", _humaneval, ("task_id", "prompt", "canonical_solution", "test")
    ),
}  # fmt: skip


def of_hub(name: str, split: str) -> Iterator[tuple[str, Record]]:
    """Place and record, in our fields, of a data set of `DATA_SETS`. ValueError for a split that it
    lacks; FileNotFoundError where neither hub nor cache has it."""
    data = DATA_SETS[name]
    if split not in data.splits:
        raise ValueError(
            f"{name} has no split {split!r}; it has {', '.join(data.splits)}. Give it for another "
            "part of data, or a file of your own."
        )
    parts = (hub_records(data.repository, data.splits[split], c, name) for c in data.configs)
    for number, record in enumerate(itertools.chain.from_iterable(parts)):
        where = f"{name}[{split}]:{number}"
        try:
            ours = _converted(name, record, f"{split}/{number}", where)
        except KeyError as error:
            raise ValueError(
                f"{where}: {name} has a field {error}, this record has {', '.join(sorted(record))}."
            ) from error
        yield where, ours


def hub_records(
    repository: str, split: str, config: str | None = None, name: str | None = None
) -> Iterable[Record]:
    """Records of any data set on the hub; name: ours, of a known one. FileNotFoundError where it
    does not load."""
    import datasets  # needed by few runs, and slow to import

    try:
        return cast(Iterable[Record], datasets.load_dataset(repository, config, split=split))
    except (OSError, ValueError) as error:
        if name is None:
            raise FileNotFoundError(
                f"{repository!r} is neither a file nor a data set of the hub that loads here with "
                f"split {split!r} (known by name are {', '.join(DATA_SETS)}): {error}"
            ) from error
        what = f"{repository}, configuration {config}" if config else repository
        raise FileNotFoundError(
            f"{name!r} is {what}, split {split!r}, of the Hugging Face hub, and does not load "
            f"here ({error}). Without a network, load it once where there is one and copy the "
            "cache of `datasets` (HF_DATASETS_CACHE), or give a .jsonl or .parquet file of it: its "
            "fields are recognised."
        ) from error


def recognised(record: Record, number: int, where: str) -> Record:
    """A record in the form of a known data set in our fields; any other record as it is.

    number: stands for an id where neither the record nor the data set has one. A record that has
    our `id`, `problem` and `answer` is ours. An `answer` counts before whatever else states one.
    """
    if all(record.get(field) is not None for field in ("id", "problem", "answer")):
        return record
    name = next((name for name, data in DATA_SETS.items() if data.fits(record)), None)
    if name is None:
        return record
    ours = _converted(name, record, number, where)
    given = {"id": record.get("id"), "source": record.get("source") or None}
    return ours | {field: value for field, value in given.items() if value is not None}


def _converted(name: str, record: Record, number: object, where: str) -> dict[str, object]:
    made = DATA_SETS[name].convert(record, where)
    own = number if made.get("id") is None else made["id"]
    return {**record, **made, "id": f"{name}/{own}", "source": name}
