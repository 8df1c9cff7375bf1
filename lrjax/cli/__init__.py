"""The `lrjax` command. Its parser and its tables are imported when it runs, not before."""

from ._main import main as main
