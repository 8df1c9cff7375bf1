"""The finder: curve -> window -> rules -> warnings -> refinement -> find_lr, and the classic range test."""

from ._auto import AutoResult as AutoResult
from ._auto import auto as auto
from ._curve import LossCurve as LossCurve
from ._find import find_lr as find_lr
from ._preview import Preview as Preview
from ._preview import preview_lr as preview_lr
from ._progress import SearchProgress as SearchProgress
from ._range_test import RangeTest as RangeTest
from ._range_test import Suggestions as Suggestions
from ._range_test import range_test as range_test
from ._result import LRFinderResult as LRFinderResult
from ._result import LRNotFound as LRNotFound
from ._result import SearchInterrupted as SearchInterrupted
from ._rules import crossing as crossing
from ._rules import half_loss as half_loss
from ._rules import lowest_for as lowest_for
from ._rules import lowest_loss as lowest_loss
from ._rules import midpoint as midpoint
from ._rules import steepest as steepest
from ._sample import sample_losses as sample_losses
from ._warnings import LRWarning as LRWarning
from ._warnings import WarningName as WarningName
from ._warnings import find_warnings as find_warnings
from ._window import Outcome as Outcome
from ._window import Window as Window
from ._window import find_window as find_window
