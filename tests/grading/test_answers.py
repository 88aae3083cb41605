"""What is read in a response, and what is decided without a computer algebra system."""

import time
from fractions import Fraction

import pytest

from acim_jax.grading import answers, exact
from acim_jax.grading.extraction import extract_answer

EXTRACTED = [
    (r"so \boxed{5}", "5"),
    (r"First \boxed{3}, but then \boxed{5}.", "5"),
    (r"\boxed{\frac{1}{2}} and more", r"\frac{1}{2}"),
    (r"\boxed{\{1,2\}}", r"\{1,2\}"),
    (r"\boxed{\boxed{7}}", "7"),
    (r"\boxed{1} then \boxed{2", "1"),
    (r"\fbox{9}", "9"),
    (r"\boxed 12$", "12"),
    (r"\boxed{}", ""),
    (r"\boxed{1", None),
    ("It follows.\n#### 1,234", "1,234"),
    ("The answer is 12.", "12"),
    ("Thus the final answer is: $\\frac{3}{4}$.", "$\\frac{3}{4}$"),
    ("The answer is 3.5 dollars. Good.", "3.5 dollars"),
    ("Answer: B", "B"),
    ("The answer is 4, because 2+2=4.", "4"),
    ("the answer to this question is 8", "8"),
    ("42", "42"),
    (" -3/4 \n", "-3/4"),
    ("x^2 + 1", "x^2 + 1"),
    ("12 apples", "12 apples"),
    ("9" * 1000, "9" * 1000),
    ("", None),
    ("We first add the two numbers and then stop.", None),
    ("7\n8", None),
    ("The answer is **73**.", "73"),
    ("The answer is **73** people.", "73 people"),
    ("**Answer:** **73**", "73"),
    ("**Answer:** **$42$**", "$42$"),
    ("The answer is *73*.", "73"),
    ("The answer is __73__.", "73"),
    ("The answer is **x = 42**.", "x = 42"),
    ("My answer: **1/2**.", "1/2"),
    ("\\[Answer: 017\\]", "017"),
    ("\\[\\text{Answer: } 42\\]", "42"),
    ("The answer is therefore 42.", "42"),
    ("The answer is thus $42$.", "$42$"),
    ("**Final Answer:**\n\n73", "73"),
    ("Answer: \n42", "42"),
    ("### Final Answer\n\n73", "73"),
    ("#### Final Answer\n73", "73"),
    ("**Final Answer:**\n\n\\[\n42\n\\]", "42"),
    ("**Final Answer**\n\n$$\n42\n$$", "42"),
    ("ANSWER: **C**", "C"),
    ("**ANSWER: C**", "C"),
    ("***Answer***: ***42***", "42"),
    ("#### **42**", "42"),
    ("So `73`.\nThe answer is `73`.", "73"),
    ("The answer is \\(42\\).", "\\(42\\)"),
    ("The answer is \\[42\\]", "\\[42\\]"),
    ("The answer is 2**10.", "2**10"),
    ("The answer is 2*3*4.", "2*3*4"),
    ("The answer is \\{1,2\\}.", "\\{1,2\\}"),
    ("The answer is $x_1 + x_2$.", "$x_1 + x_2$"),
    ("The answer is f_1*g_1.", "f_1*g_1"),
    ("The answer is 18.\n\n#### Check\n3*6=18 holds.", "18"),
    ("**Answer: 18**\n\n#### Remark\nThis is even.", "18"),
    ("So 3*6 = 18.\n#### 18", "18"),
    ("#### Step 1\nAdd.\nThe answer is 18.", "18"),
    ("The answer is 18.\n\n#### 2. Check\nfine", "18"),
    ("The answer is 18.\n##### Check: 3*6\nfine", "18"),
    ("The answer is 18.\n#### 2nd method\nfine", "18"),
    ("text\n#### $18 dollars", "$18 dollars"),
    ("text\n#### yes", "yes"),
    ("text\n#### x = 5", "x = 5"),
    ("text\n#### B", "B"),
    ("text\n#### \\frac{1}{2}", "\\frac{1}{2}"),
    ("text\n#### Answer: 42", "42"),
    ("text\n#### total = 42", "total = 42"),
    ("text #### -5", "-5"),
    ("#### Step 1\nAdd 2.\n#### Step 2\nAdd 3.", "Step 2"),
    ("The answer is not 42.", "not 42"),
    ("To find the answer:\nLet x = 3", None),
    ("Answer:\n\nWe first compute the sum of all these numbers.", None),
    ("The answer\n5", None),
    ("**Answer**: The value is 5", "The value is 5"),
    ("The final answer is:\n**73**", "73"),
    ("The answer is $\\text{even}$.", "$\\text{even}$"),
    ("> **Answer:** 5", "5"),
    ("The answer is 5", "5"),
    ("Final Answer: The final answer is $42$. I hope it is correct.", "The final answer is $42$"),
    ("The answer is (0, 1].", "(0, 1]"),
    ("The answer is so-called 5.", "so-called 5"),
    ("The answer is **73**, not 74.", "73"),
    ("The **answer** is **5**.", "5"),
    ("The answer is: 7", "7"),
    ("$\\text{Answer} = 7$", "7$"),
    ("\\textbf{Answer: 7}", "7"),
    ("The answer is 2 ** 3.", "2 ** 3"),
]


@pytest.mark.parametrize(("text", "answer"), EXTRACTED)
def test_extraction(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", Fraction(12)),
        ("-0.125", Fraction(-1, 8)),
        ("3/4/2", Fraction(3, 8)),
        (r"\frac{1+2}{2^3}", Fraction(3, 8)),
        (r"3\frac{1}{7}", Fraction(22, 7)),
        (r"3\frac{7}{1}", Fraction(21)),
        ("2^-2", Fraction(1, 4)),
        ("2^3^2", Fraction(512)),
        (r"0.\overline{142857}", Fraction(1, 7)),
        ("1e-2", Fraction(1, 100)),
        ("1/2(3)", None),
        ("2 3", None),
        ("3!!", Fraction(720)),
        ("1/0", None),
        ("0^0", None),
        ("2^(1/2)", None),
        ("10^99999999", None),
        ("2^10000 * 2^10000 * 2^10000 * 2^10000 * 2^10000", None),
        ("2000!", None),
        ("1e9999", None),
        ("x", None),
        ("", None),
    ],
)
def test_rational(text: str, value: Fraction | None) -> None:
    assert exact.rational(text) == value


def test_what_is_decided_without_a_computer_algebra_system() -> None:
    assert answers.decide(r"\sqrt{20}", r"2\sqrt{5}") is None
    assert answers.decide("6", "5") == ("exact", False)
    assert answers.decide(None, "5") == ("none", False)


def test_wrong_numbers_never_reach_the_symbolic_step() -> None:
    predictions = [
        "4",
        "-5",
        "5.5",
        r"\frac{1}{3}",
        "5x",
        "x",
        "",
        "none",
        "5,6",
        "5/0",
        r"\text{no}",
    ]
    for prediction in predictions:
        assert answers.decide(prediction, "5") is not None, prediction


@pytest.mark.parametrize(
    "text",
    [
        "answer is" + "\n" * 200_000,
        "\\boxed{" * 100_000,
        "^" + " " * 10**6,
        "answer is *a" * 100_000,
        "#### *a _b\n" * 100_000,
        "answer is " + "*a _b **c" * 100_000,
        "answer is " + "}" * 10**6,
        "\\boxed{" + "a=" * 10**6 + "}",
        "\\boxed{P(" + "(" * 900 + "=1}",
        "\\boxed{" + "x" * 900 + "=1}",
        "\\boxed{" + "x<" * 450 + "1}",
        "\\boxed{" + "x_1+" * 200 + "=1}",
        "\\boxed{|" + "A\\cap " * 120 + "=1}",
        "\\boxed{" + ". " * 450 + "}",
        "\\boxed{" + "x'" * 49 + "?=1}",
        "\\boxed{" + r"\alpha" * 16 + "?=1}",
        "\\boxed{" + r"\sqrt{\frac" * 9 + "?=1}",
        "\\boxed{" + r"\{x:" * 200 + "x>1}",
    ],
)
def test_hostile_responses_cost_little(text: str) -> None:
    begin = time.process_time()
    verdict = answers.decide(extract_answer(text), "5")
    assert verdict is None or not verdict[1]
    assert time.process_time() - begin < 2.0  # quadratic work would take minutes


@pytest.mark.parametrize(
    ("extracted", "answer", "correct"),
    [("5 m^2/s", "6 m^2/s", False), ("5 m^2/s", "5 m", True), ("500 cm^2", "0.05 m^2", True)],
)
def test_units_that_no_table_knows_name_what_is_counted(
    extracted: str, answer: str, correct: bool
) -> None:
    assert answers.decide(extracted, answer) == ("exact", correct)
