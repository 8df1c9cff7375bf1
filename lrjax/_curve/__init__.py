"""Reading of a curve of losses over learning rates: window, rules, warnings, where to try more."""

from ._loss_curve import LossCurve as LossCurve
from ._loss_curve import reduce_losses as reduce_losses
from ._refine import FILL_ROUNDS as FILL_ROUNDS
from ._refine import extend as extend
from ._refine import fill_window as fill_window
from ._refine import first_grid as first_grid
from ._refine import new_ones as new_ones
from ._refine import paper_points as paper_points
from ._rules import DRIFT as DRIFT
from ._rules import METHODS as METHODS
from ._rules import SETTLED as SETTLED
from ._rules import Rule as Rule
from ._rules import crossing as crossing
from ._rules import half_loss as half_loss
from ._rules import lowest_for as lowest_for
from ._rules import lowest_loss as lowest_loss
from ._rules import midpoint as midpoint
from ._rules import steepest as steepest
from ._smooth import CELL as CELL
from ._warnings import LRWarning as LRWarning
from ._warnings import WarningName as WarningName
from ._warnings import find_warnings as find_warnings
from ._warnings import is_lost_in_noise as is_lost_in_noise
from ._window import Outcome as Outcome
from ._window import Window as Window
from ._window import find_window as find_window
