"""`acim config [SECTION]`: every field of a config with its type, its default and text."""

import argparse
import json

import rich.text

from acim_jax.bad_input import BadInput
from acim_jax.cli import console
from acim_jax.config import describe, schema


def run(args: argparse.Namespace) -> int:
    """Prints two lines a field, or with --json one object by dotted field."""
    sections = [name for name in describe.sections() if name]
    if args.section is not None and args.section not in sections:
        hint = schema.did_you_mean(args.section, sections) or f"they are {', '.join(sections)}"
        raise BadInput(f"no section is called {args.section!r}; {hint}")
    fields = [one for one in describe.fields() if args.section in (None, one.section)]
    if args.json:
        listed = {
            one.path: {"type": one.type, "default": one.default, "text": one.text} for one in fields
        }
        print(json.dumps(listed, ensure_ascii=False))
        return 0
    for one in fields:
        text = rich.text.Text(one.path, "bold")
        text.append(f" = {json.dumps(one.default, ensure_ascii=False)}", "green")
        text.append(f"  {one.type}\n", "dim")
        console.console().print(text.append(f"    {one.text}"), soft_wrap=True)
    return 0
