"""Text to token ids and back, where a conversation with an interpreter needs exact borders.

Special tokens are recognised where *we* wrote the text (templates), never in what a problem or a
program contains: there they are ordinary characters.
"""

import dataclasses
import functools
import json
import os
import re
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import tokenizers

from acim_jax.markup import end_tokens, fences, form
from acim_jax.markup.form import Markup

# Stands for the question while a template is rendered; no text contains private-use characters.
_PLACE = "\ue000problem\ue000"
# Stands before a text that continues another: no vocabulary merges it with what follows.
_BEFORE = "\ue000"


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
    """A model folder's tokenizer.

    wrapper: transformers' PreTrainedTokenizerFast, for its chat template. plain: `backend` without
    special tokens. adds_blank: the tokenizer puts a blank before any text, as those made from
    SentencePiece models do. bos_ids: what it puts before any text, often nothing. eos_id: the token
    that ends a response; end_ids: all that do (a chat model has several). vocab_size: ids that
    stand for text; a model's embedding may be padded beyond it.
    """

    wrapper: Any
    backend: tokenizers.Tokenizer
    plain: tokenizers.Tokenizer
    adds_blank: bool
    specials: tuple[str, ...]
    bos_ids: tuple[int, ...]
    end_ids: tuple[int, ...]
    eos_id: int
    vocab_size: int

    def encode(self, text: str, *, begins: bool = False) -> np.ndarray:
        """Ids [n] int32. Special tokens spelled in `text` are recognised, none are added.

        begins: the text is the beginning of a row, where some tokenizers put a blank.
        """
        return self._encoded(self.backend, text, begins)

    def encode_plain(self, text: str, *, begins: bool = False) -> np.ndarray:
        """Ids [n] int32 of foreign text: special tokens spelled in it are ordinary characters."""
        return self._encoded(self.plain, text, begins)

    def _encoded(self, backend: tokenizers.Tokenizer, text: str, begins: bool) -> np.ndarray:
        ids = backend.encode(text, add_special_tokens=False).ids
        if self.adds_blank and text and not begins:
            before = backend.encode(_BEFORE, add_special_tokens=False).ids
            both = backend.encode(_BEFORE + text, add_special_tokens=False).ids
            # What stands before `text` must not have merged with it.
            ids = both[len(before) :] if both[: len(before)] == before else ids
        return np.array(ids, np.int32)

    def decode(self, token_ids: np.ndarray, *, skip_special: bool = False) -> str:
        """The text of ids, without any clean-up. Ids beyond the vocabulary give nothing."""
        return self.backend.decode(token_ids.tolist(), skip_special_tokens=skip_special)

    def prompt_ids(self, question: str, markup: Markup) -> np.ndarray:
        """The prompt of a question, ids [n] int32, `bos_ids` included.

        The prompt is encoded as a whole, so that tokens may span the template's borders. A question
        that spells a special token is encoded apart, as foreign text.
        """
        if any(special in question for special in self.specials):
            template = self._render(_PLACE, markup).split(_PLACE)
            parts = [self.encode(template[0], begins=True)]
            for piece in template[1:]:
                begins = not any(map(len, parts))
                parts += [self.encode_plain(question, begins=begins), self.encode(piece)]
            ids = np.concatenate(parts)
        else:
            ids = self.encode(self._render(question, markup), begins=True)
        if tuple(ids[: len(self.bos_ids)].tolist()) != self.bos_ids:
            ids = np.concatenate([np.array(self.bos_ids, np.int32), ids])
        return ids

    def output_ids(self, text: str, markup: Markup) -> np.ndarray:
        """Ids [n] int32 of a rendered output: its fences are ours, what they hold is foreign.

        text: as `outputs.render_output` makes it; any other text is foreign altogether. It is
        encoded as a whole, so that tokens may span the fences' borders, unless a fence spells a
        special token.
        """
        begin, end = markup.output_open, markup.output_close
        ours = re.fullmatch(
            f"({fences.pattern(begin)})(.*)({fences.pattern(end)})", text, flags=re.DOTALL
        )
        if not ours or not any(special in begin + end for special in self.specials):
            return self.encode_plain(text)
        begin, inside, end = ours.groups()
        return np.concatenate([self.encode(begin), self.encode_plain(inside), self.encode(end)])

    def stop_ids(self, markup: Markup) -> np.ndarray:
        """All ids that end a response by themselves, ascending: `end_ids`, and the texts of
        `markup.stop` that are one token. `ends_response` finds the other texts."""
        single = [ids[0] for ids in map(self.encode, markup.stop) if len(ids) == 1]
        return np.array(sorted({*self.end_ids, *map(int, single)}), np.int32)

    def text_stops(self, markup: Markup) -> tuple[str, ...]:
        """The texts of `markup.stop` that several tokens may spell: all but the special tokens."""
        return tuple(stop for stop in markup.stop if stop not in self.specials)

    def halting_ids(self, markup: Markup) -> np.ndarray:
        """bool [vocab_size]: tokens that may complete a closing code fence or a stop text.

        A superset, whatever the tokenizer merges: a token that completes a mark contains it or
        begins with the end of it. A row that samples such a token is paused until the host has read
        its text (`closed_program`, `ends_response`).
        """
        return self._may_complete((markup.code_close, *self.text_stops(markup)))

    def opening_ids(self, markup: Markup) -> np.ndarray:
        """bool [vocab_size]: tokens that may complete an opening code fence, as `halting_ids`."""
        return self._may_complete((markup.code_open.rstrip(),))

    def _may_complete(self, marks: tuple[str, ...]) -> np.ndarray:
        ends = tuple(mark[at:] for mark in marks for at in range(len(mark)))
        # Part of a character beyond ASCII decodes to the replacement character.
        whole = marks if all(mark.isascii() for mark in marks) else (*marks, "\ufffd")
        return np.array(
            [text.startswith(ends) or any(m in text for m in whole) for text in self._texts], bool
        )

    def line_ends(self) -> np.ndarray:
        """bool [vocab_size]: tokens whose text ends with a newline."""
        return np.array([text.endswith("\n") for text in self._texts], bool)

    def closed_program(self, token_ids: np.ndarray, markup: Markup) -> str | None:
        """The program whose closing fence the last token of a response completes, else None.

        token_ids: the whole response so far, our own tokens included. It is decoded as a whole only
        if its last token completes a closing fence; otherwise a few tokens are.
        """
        end, before = self._end(token_ids, len(markup.code_close) + 1)
        if not fences.completes_fence(end, before, markup):
            return None
        text, before = self.decode(token_ids), self.decode(token_ids[:-1])
        return fences.closed_program(text, before, markup)

    def opens_program(self, token_ids: np.ndarray, markup: Markup) -> bool:
        """Whether the last token of a response so far completes an opening fence."""
        end, before = self._end(token_ids, len(markup.code_open))
        return fences.opens_fence(end, before, markup)

    def ends_response(self, token_ids: np.ndarray, markup: Markup) -> bool:
        """Whether the last token completes a stop text.

        token_ids: what the model has sampled since the last token of ours.
        """
        stops = self.text_stops(markup)
        if not stops:
            return False
        end, before = self._end(token_ids, max(map(len, stops)))
        return fences.ends_response(end, before, stops)

    def _end(self, token_ids: np.ndarray, least: int) -> tuple[str, str]:
        """The text of the last few tokens, with and without the last one: at least `least`
        characters before it, if there are so many."""
        window = least + 1
        while True:
            tail = token_ids[-window:]
            before = self.decode(tail[:-1])
            if len(before) >= least or len(tail) == len(token_ids):
                return self.decode(tail), before
            window *= 2

    @functools.cached_property
    def _texts(self) -> list[str]:
        """The text of every token after another one: some decoders drop a blank at the beginning
        of a text."""
        anchor = int(self.encode_plain("a")[-1])
        alone = len(self.decode(np.array([anchor])))
        pairs = [[anchor, token_id] for token_id in range(self.vocab_size)]
        texts = self.backend.decode_batch(pairs, skip_special_tokens=False)
        return [text[alone:] for text in texts]

    def _render(self, question: str, markup: Markup) -> str:
        if markup.template != "chat":
            return form.prompt_text(question, markup)
        if not self.wrapper.chat_template:
            raise ValueError(
                "markup.template is 'chat', but the tokenizer has no chat template; use 'plain' or "
                "a template that contains '{problem}'."
            )
        messages = form.messages(question, markup)
        prompt = self._applied(messages, None)
        if not markup.tools:
            return prompt
        functions = [form.PYTHON_TOOL, *map(json.loads, markup.functions)]
        with_tools = self._applied(messages, functions)
        if with_tools == prompt:
            raise ValueError(
                "markup.tools is true, but the tokenizer's chat template says nothing of tools; "
                "set it to false and describe the function in markup.system."
            )
        return with_tools

    def _applied(self, messages: list[dict[str, str]], tools: list[Any] | None) -> str:
        try:
            return self.wrapper.apply_chat_template(
                messages, tools=tools, tokenize=False, add_generation_prompt=True
            )
        except jinja2.TemplateError as error:
            roles = " and ".join(message["role"] for message in messages)
            raise ValueError(
                f"The tokenizer's chat template refuses the messages of {roles}: {error}. Set "
                "markup.system to null, or write the prompt as markup.template."
            ) from error


def load(folder: Path) -> Tokenizer:
    """The tokenizer of a local model folder. It encodes whole texts and nothing else, whatever
    truncation and padding `tokenizer.json` holds, as transformers does.

    FileNotFoundError without tokenizer files. ValueError naming the folder for files that cannot be
    read, for a tokenizer without a fast form, and for one without an end token.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        raise FileNotFoundError(
            f"{folder} has no tokenizer: tokenizer.json and tokenizer_config.json were expected."
        )
    # transformers takes over a second to import, and advises to install torch, which is not needed.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    import transformers

    automatic: Any = transformers.AutoTokenizer  # its methods have no types
    try:
        wrapper = automatic.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception for a broken file
        raise ValueError(f"The tokenizer in {folder} cannot be read: {error}") from error
    if not wrapper.is_fast:
        raise ValueError(f"{folder}: the tokenizer needs a fast form (tokenizer.json).")
    backend = _backend(folder, wrapper)
    plain = tokenizers.Tokenizer.from_str(backend.to_str())
    plain.encode_special_tokens = True
    end_ids = end_tokens.of(folder, wrapper.eos_token_id)
    eos_id = end_ids[0] if wrapper.eos_token_id is None else wrapper.eos_token_id
    twice = backend.encode("x", add_special_tokens=False).ids * 2
    begin = wrapper.backend_tokenizer.encode("").ids
    return Tokenizer(
        wrapper=wrapper,
        backend=backend,
        plain=plain,
        adds_blank=backend.decode(twice, skip_special_tokens=False) != "xx",
        specials=tuple(t.content for t in backend.get_added_tokens_decoder().values() if t.special),
        bos_ids=tuple(begin[:1]) if begin and begin[0] == wrapper.bos_token_id else (),
        end_ids=end_ids,
        eos_id=eos_id,
        vocab_size=len(wrapper),
    )


def _backend(folder: Path, wrapper: Any) -> tokenizers.Tokenizer:
    """The tokenizer of `tokenizer.json`, which is what the model was trained with and what servers
    load; transformers may replace its pre-tokenizer and normaliser by those of the architecture's
    class. Neither it nor the wrapper's own then cuts or pads: a saved file keeps the settings of
    its last preprocessing."""
    own: tokenizers.Tokenizer = wrapper.backend_tokenizer
    stated = folder / "tokenizer.json"
    backend = tokenizers.Tokenizer.from_file(str(stated)) if stated.is_file() else own
    for kept in (backend, own):
        kept.no_truncation()
        kept.no_padding()
    return backend
