"""A written response as tokens, cut where sampling has a border of authors."""

from acim_jax.markup import outputs
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
