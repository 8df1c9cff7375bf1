"""A Griffe extension: what docstrings say at run time, and `Returns:` as a sentence whose type is the signature's."""

import inspect
import re
from typing import Any

import griffe

from lrjax import range_rules, schedules

RETURNS = re.compile(r"^( *)Returns:\n( +)(?=\S)", re.MULTILINE)


class ReturnTypes(griffe.Extension):
    """Writes the annotated type before the sentence, which Griffe would otherwise cut at its first colon."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Change one docstring."""
        if func.docstring is not None and any(
            str(one.value).startswith(("factory(", "rule")) for one in func.decorators
        ):
            made = getattr(schedules, func.name, None) or getattr(range_rules, func.name)
            func.docstring.value = inspect.getdoc(made) or ""
            own = inspect.signature(made).parameters  # those that a caller gives
            func.parameters = griffe.Parameters(*(one for one in func.parameters if one.name in own))
            func.returns = "Schedule" if made.__module__.startswith(schedules.__name__) else "Suggestion"
        if func.docstring is not None and func.returns is not None:
            kind = str(func.returns).replace("\\", "\\\\")
            func.docstring.value = RETURNS.sub(rf"\1Returns:\n\2{kind}: ", func.docstring.value, count=1)
