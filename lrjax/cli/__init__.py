"""The `lrjax` command."""

from ._main import main as main
