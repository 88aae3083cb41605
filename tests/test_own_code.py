"""Functions of the user's own: found by file or module, and refused with what was needed."""

import sys
from pathlib import Path

import pytest

from acim_jax import own_code
from acim_jax.own_code import Role

ROLE = Role("grader.reward", ("problem", "response"), "def reward(problem, response): ...")


def write(folder: Path, source: str) -> str:
    (folder / "mine.py").write_text(source, encoding="utf-8")
    return f"{folder}/mine.py:reward"


def test_a_function_of_a_file_and_of_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write(tmp_path, "def reward(response, problem):\n    return problem - response\n")
    assert own_code.find(spec, ROLE)(problem=5, response=2) == 3
    (tmp_path / "mine_as_module.py").write_text("reward = lambda problem, **rest: problem * 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = own_code.find("mine_as_module:reward", ROLE)
    assert found(problem=4, response=0) == 8
    assert own_code.split("mine_as_module:reward") == (tmp_path / "mine_as_module.py", "reward")
    del sys.modules["mine_as_module"]


def test_a_file_that_was_edited_is_loaded_again_and_has_another_digest(tmp_path: Path) -> None:
    digests = list[str]()
    for number in (1, 2):
        spec = write(tmp_path, f"def reward(problem, response):\n    return {number}\n")
        assert own_code.find(spec, ROLE)(problem=None, response=None) == number
        digests.append(own_code.digest(spec))
    assert len({*digests}) == 2
    assert all(digest.startswith("reward ") for digest in digests)
    (tmp_path / "mine.py").unlink()  # while a run works: it has its code
    assert own_code.digest(spec) == digests[1]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def reward(answer, gold):\n    return 1\n", "signature (answer, gold), missing a requ"),
        ("def reward(problem):\n    return 1\n", "signature (problem), got an unexpected keyword"),
        ("def reward(problem, response, scale):\n    return 1\n", "missing a required argument: '"),
        ("async def reward(problem, response):\n    return 1\n", "is async"),
        ("def rewards(problem, response):\n    return 1\n", "has nothing called 'reward'"),
        ("reward = 3\n", "has int called 'reward'"),
    ],
)
def test_a_wrong_function_is_refused_with_the_expected_one(
    tmp_path: Path, source: str, said: str
) -> None:
    with pytest.raises(ValueError) as refused:
        own_code.find(write(tmp_path, source), ROLE)
    message = str(refused.value)
    assert message.startswith("grader.reward: ")
    assert said in message
    assert message.endswith("needed is\n  def reward(problem, response): ...")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os\nimport no_such_module\n", "No module named 'no_such_module'"),
        ("x = 1\ndef reward(:\n", "SyntaxError: invalid syntax"),
        ("y = 1\nraise SystemExit(3)\n", "SystemExit: 3"),
    ],
)
def test_what_does_not_load_is_named_by_its_last_line(
    tmp_path: Path, source: str, said: str
) -> None:
    with pytest.raises(ValueError, match="does not load") as refused:
        own_code.find(write(tmp_path, source), ROLE)
    assert said in str(refused.value)
    assert f"({tmp_path}/mine.py, line 2)" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match=r"^grader.reward: nowhere.py:reward: no such"):
        own_code.find("nowhere.py:reward", ROLE)
    with pytest.raises(ValueError, match=r"^grader.reward: .*no module 'no_such_module"):
        own_code.find("no_such_module_here:reward", ROLE)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("a.py:f", True), ("some folder/a.py:f", True), ("package.module:f", True),
        ("a.py", False), ("a.py:", False), ("a:b:c", False),
        ("owner/name", False), ("a.py:f()", False),
    ],
)  # fmt: skip
def test_the_form_of_a_name(text: str, is_one: bool) -> None:
    assert own_code.is_spec(text) == is_one
