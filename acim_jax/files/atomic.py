"""Files that are either the old or the new one, never half of it."""

import os
import tempfile
from pathlib import Path

#: Of files that a crash left half-written beside their target.
SUFFIX = ".partial"


def write_text(path: Path, text: str) -> None:
    """Replaces `path` by UTF-8 `text`; a crash leaves all of the old or all of the new text."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=SUFFIX)
    partial = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for the owner alone; a result is as readable as any other file.
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
