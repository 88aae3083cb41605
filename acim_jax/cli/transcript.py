"""A response on the terminal while it is being written: prose, code, output in their colours."""

import numpy as np
import rich.console
import rich.syntax
import rich.text

from acim_jax.markup import Markup
from acim_jax.records import Author, Segment
from acim_jax.rollout.sampler import Tokens

_REPLACEMENT = "\ufffd"  # what part of a character decodes to
# A response may hold terminal commands; none of them is to reach a terminal.
_CONTROLS = {c: _REPLACEMENT for c in (*range(32), *range(127, 160)) if chr(c) not in "\t\n"}


class Transcript:
    """Prints segments as they come: line by line in colours on a terminal, else as plain text."""

    def __init__(
        self,
        console: rich.console.Console,
        tokenizer: Tokens,
        markup: Markup,
        ends: frozenset[int],
    ) -> None:
        self._console, self._tokenizer, self._markup, self._ends = console, tokenizer, markup, ends
        self._token_ids: list[int] = []
        self._shown = ""
        self._line, self._line_author = "", Author.MODEL
        self._in_code = False
        self._python = rich.syntax.Syntax("", "python", background_color="default")

    def add(self, segment: Segment) -> None:
        """Shows a segment of the response; prompts and end tokens are left out."""
        if segment.author is Author.PROMPT:
            return
        self._token_ids += [t for t in segment.token_ids.tolist() if t not in self._ends]
        text = self._text()
        if not text.endswith(_REPLACEMENT):
            self._write(text[len(self._shown) :], segment.author)
            self._shown = text

    def close(self) -> None:
        """Shows what is left, and ends the last line."""
        text = self._text()
        self._write(text[len(self._shown) :] + "\n" * (not text.endswith("\n")), Author.MODEL)

    def _text(self) -> str:
        return self._tokenizer.decode(np.array(self._token_ids, np.int32))

    def _write(self, text: str, author: Author) -> None:
        text = text.translate(_CONTROLS)
        if not self._console.is_terminal:
            self._console.file.write(text)
            self._console.file.flush()
            return
        for piece in text.splitlines(keepends=True):
            if not self._line:
                self._line_author = author
            self._line += piece
            if piece.endswith("\n"):
                self._print_line()

    def _print_line(self) -> None:
        line = self._line.rstrip("\n")
        self._line = ""
        mark = line.strip()
        if self._line_author is Author.OUTPUT:
            shown = rich.text.Text(line, "cyan")
        elif mark and mark == self._markup.code_open.strip() and not self._in_code:
            self._in_code, shown = True, rich.text.Text(line, "dim")
        elif mark and mark == self._markup.code_close.strip() and self._in_code:
            self._in_code, shown = False, rich.text.Text(line, "dim")
        elif self._in_code:
            shown = self._python.highlight(line)
            shown.rstrip()
        else:
            shown = rich.text.Text(line)
        self._console.print(shown, soft_wrap=True)
