"""The blocks of docs/integrations.md that need an ecosystem run where it is; the others run in test_readme.py."""

import re

import pytest
from test_readme import README

import lrjax  # noqa: F401

PAGE = (README.parent / "docs" / "integrations.md").read_text()


@pytest.mark.parametrize("name", ["equinox", "keras", "haiku"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_pages_code_runs(name):
    pytest.importorskip(name, reason=f"pip install 'lrjax[{name}]'")
    scope = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[1], scope)
    exec(re.search(rf"```python {name}\n(.*?)```", PAGE, flags=re.DOTALL)[1], scope)
    assert "lrjax_keras" in scope or isinstance(scope["task"], scope["lrjax"].Task)
