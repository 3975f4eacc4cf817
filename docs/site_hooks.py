"""For the site: what links lead to outside of docs/ is not on it, so that their text stands alone."""

from __future__ import annotations

import re
from typing import Any

_OUT = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **unused: Any) -> str:
    """Take the links out."""
    return _OUT.sub(r"\1", markdown)
