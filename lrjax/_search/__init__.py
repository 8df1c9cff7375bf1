"""Every way to find a learning rate."""

from ._budget import Budget as Budget
from ._curvature_picture import plot_curvature as plot_curvature
from ._find import find_lr as find_lr
from ._lane_curve import read_lanes as read_lanes
from ._lr_result import Cost as Cost
from ._lr_result import LRResult as LRResult
from ._picture import ROUND_MARKERS as ROUND_MARKERS
from ._picture import plot_lr as plot_lr
from ._preview_search import preview_search as preview_search
from ._ramp import range_test as range_test
from ._range_test import RangeTest as RangeTest
from ._range_test_picture import plot_range_test as plot_range_test
from ._sample import sample_losses as sample_losses
from ._stage import Stage as Stage
from ._start import Checkpoint as Checkpoint
from ._step_sampling import StepSampling as StepSampling
from ._strategy import Choice as Choice
from ._strategy import Context as Context
from ._strategy import Request as Request
from ._strategy import Strategy as Strategy
from ._strategy import curve_of_losses as curve_of_losses
from ._strategy import run_stages as run_stages
