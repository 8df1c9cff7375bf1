"""A Griffe extension: what docstrings say at run time, and `Returns:` as a sentence whose type is the signature's."""

import inspect
import re
from typing import Any

import griffe

from lrjax import schedules

RETURNS = re.compile(r"^( *)Returns:\n( +)(?=\S)", re.MULTILINE)


class ReturnTypes(griffe.Extension):
    """Writes the annotated type before the sentence, which Griffe would otherwise cut at its first colon."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Change one docstring."""
        if func.docstring is not None and any(str(one.value).startswith("factory(") for one in func.decorators):
            func.docstring.value = inspect.getdoc(getattr(schedules, func.name)) or ""
        if func.docstring is not None and func.returns is not None:
            kind = str(func.returns).replace("\\", "\\\\")
            func.docstring.value = RETURNS.sub(rf"\1Returns:\n\2{kind}: ", func.docstring.value, count=1)
