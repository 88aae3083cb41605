r"""Final answers as data sets write them."""

import pytest

from acim_jax.data import answer_forms as forms


@pytest.mark.parametrize(
    ("text", "solution", "answer"),
    [
        ("6*7=<<6*7=42>>42 eggs.\n#### 42", "6*7=42 eggs.", "42"),
        ("So.\n#### 1,234,000 ", "So.", "1,234,000".replace(",", "")),
        ("One #### two\n#### -3.5", "One #### two", "-3.5"),
    ],
)
def test_after_hashes(text: str, solution: str, answer: str):
    assert forms.after_hashes(text, "here") == (solution, answer)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"Thus $x=\boxed{5}$.", "5"),
        (r"First \boxed{1}, then \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{\left\{ 1, \{2\} \right\}}", r"\left\{ 1, \{2\} \right\}"),
        (r"\fbox{A}", "A"),
        (r"$\boxed 7$.", "7"),
        (r"$\boxed{ 8 }$", "8"),
        (r"$\boxed{a\\}b$", "a\\\\"),
    ],
)
def test_last_boxed(text: str, answer: str):
    assert forms.last_boxed(text, "here") == answer


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (27.0, "27"),
        (27, "27"),
        ("027", "27"),
        ("000", "0"),
        ("-07.00", "-7"),
        ("0.5", "0.5"),
        (0.25, "0.25"),
        ("10", "10"),
        (r" \frac{1}{2} ", r"\frac{1}{2}"),
    ],
)
def test_numbers(value: object, answer: str):
    assert forms.number(value, "here") == answer


def test_lists_and_levels():
    assert forms.listed(["$2$", r"$\frac{1}{2}$ "], "here") == r"2, \frac{1}{2}"
    assert forms.listed("7", "here") == "7"
    assert forms.level("Level 5") == "5"
    assert forms.level(3) == 3


@pytest.mark.parametrize(
    ("function", "value", "message"),
    [
        (forms.after_hashes, "no mark", r"here: needed an answer after '####', got 'no mark'"),
        (forms.after_hashes, "empty ####  ", r"here: needed an answer after '####'"),
        (forms.after_hashes, 5, r"here must be a string, got int"),
        (forms.last_boxed, "x" * 100, r"here: needed a \\boxed\{answer\}, got '…x{60}'"),
        (forms.last_boxed, r"\boxed{5", r"needed a \\boxed"),
        (forms.last_boxed, r"\boxed{1} \boxed{}", r"needed a \\boxed"),
        (forms.number, True, r"here: needed a number or a text, got bool"),
        (forms.number, None, r"got NoneType"),
        (forms.number, " ", r"here is empty"),
        (forms.listed, [], r"here: needed one or more answers, got \[\]"),
        (forms.listed, [1], r"here must be a string, got int"),
        (forms.listed, ["$$"], r"needed one or more answers"),
    ],
)
def test_answers_in_another_form_are_refused(function, value: object, message: str):
    with pytest.raises(ValueError, match=message):
        function(value, "here")
