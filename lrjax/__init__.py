"""The learning-rate toolkit for JAX: find a good learning rate, give it a schedule, prove both."""

from ._version import __version__ as __version__
from .finder import LossCurve as LossCurve
from .finder import LRFinderResult as LRFinderResult
from .finder import LRNotFound as LRNotFound
from .finder import LRWarning as LRWarning
from .finder import Outcome as Outcome
from .finder import SearchInterrupted as SearchInterrupted
from .finder import SearchProgress as SearchProgress
from .finder import WarningName as WarningName
from .finder import Window as Window
from .finder import crossing as crossing
from .finder import find_lr as find_lr
from .finder import find_warnings as find_warnings
from .finder import find_window as find_window
from .finder import half_loss as half_loss
from .finder import lowest_loss as lowest_loss
from .finder import midpoint as midpoint
from .finder import range_rules as range_rules
from .finder import sample_losses as sample_losses
from .finder import steepest as steepest
from .trials import Chunked as Chunked
from .trials import Execution as Execution
from .trials import Task as Task
