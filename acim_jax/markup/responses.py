"""A written response as tokens, cut where sampling has a border of authors."""

from acim_jax.markup import fences, outputs
from acim_jax.markup.form import Markup
from acim_jax.markup.tokenizer import Tokenizer
from acim_jax.records import Author, DecisionName, Segment


def encode(
    response: str, decision: DecisionName, tokenizer: Tokenizer, markup: Markup
) -> list[Segment]:
    """FORCED: the decision's prefix, if the response begins with one. OUTPUT: the interpreter's,
    with its fences. MODEL: the rest. Every piece is encoded by itself; no end token is added."""
    prefix = markup.prefix_of(response, decision)
    segments = [Segment(Author.FORCED, tokenizer.encode(prefix))] if prefix else []
    for author, text in outputs.split_by_author(response[len(prefix) :], markup):
        given = author is Author.OUTPUT
        ids = tokenizer.output_ids(text, markup) if given else tokenizer.encode(text)
        segments.append(Segment(author, ids))
    return segments


def opening(
    segments: list[Segment],
    response: str,
    decision: DecisionName,
    tokenizer: Tokenizer,
    markup: Markup,
) -> int:
    """How many tokens at the beginning of a response, as `encode` gives it, take the decision.

    Those of the decision's prefix; without one, of code those up to and including the first fence,
    if at most one line of text stands before it; else the first token.
    """
    first = segments[0]
    if first.author is Author.FORCED:
        return len(first.token_ids)
    opened = fences.first_opened(response, markup) if decision == "code" else None
    if opened is None or sum(bool(line.strip()) for line in response[: opened[0]].split("\n")) > 1:
        return 1
    lengths = range(1, len(first.token_ids))
    covers = (n for n in lengths if len(tokenizer.decode(first.token_ids[:n])) >= opened[1])
    return next(covers, len(first.token_ids))
