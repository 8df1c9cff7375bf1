"""Learning-rate schedules: functions of the step that Optax takes, and pytrees that JAX maps over.

Names with an underscore are for the other rooms of the package.
"""

# ruff: noqa: F401

from ._check_resume import check_resume as check_resume
from ._compose import add as add
from ._compose import clip as clip
from ._compose import join as join
from ._compose import multiply as multiply
from ._compose import repeat as repeat
from ._compose import shift as shift
from ._compose import stack as stack
from ._compose import stretch as stretch
from ._current import at_step as at_step
from ._current import current_hyperparams as current_hyperparams
from ._cycle import cosine_restarts as cosine_restarts
from ._cycle import cyclic_exponential_decay as cyclic_exponential_decay
from ._cycle import exp_range as exp_range
from ._cycle import triangular as triangular
from ._cycle import triangular2 as triangular2
from ._cycle import triangular_momentum as triangular_momentum
from ._decay import constant as constant
from ._decay import cosine_decay as cosine_decay
from ._decay import exponential_decay as exponential_decay
from ._decay import inverse_time_decay as inverse_time_decay
from ._decay import linear_decay as linear_decay
from ._decay import polynomial_decay as polynomial_decay
from ._decay import range_test_ramp as range_test_ramp
from ._describe import Description as Description
from ._describe import describe as describe
from ._durations import Durations as Durations
from ._evaluate import evaluate as _values_at
from ._evaluate import known_steps as _known_steps
from ._evaluate import sample_steps as _sample_steps
from ._one_cycle import one_cycle as one_cycle
from ._one_cycle import one_cycle_momentum as one_cycle_momentum
from ._phases import Phase as Phase
from ._phases import tolerance_of as _tolerance_of
from ._picture import plot_schedules as _plot_schedules
from ._plateau import PlateauState as PlateauState
from ._plateau import reduce_on_plateau as reduce_on_plateau
from ._rates import inverse_sqrt_decay as inverse_sqrt_decay
from ._rates import k_decay as k_decay
from ._rates import power_decay as power_decay
from ._rates import tanh_decay as tanh_decay
from ._schedule import FACTORIES as _FACTORIES
from ._schedule import GROUPS as _GROUPS
from ._scheduled import ScheduledState as ScheduledState
from ._scheduled import scheduled as scheduled
from ._spec import from_spec as from_spec
from ._spec import to_spec as to_spec
from ._stable import cooldown_from as cooldown_from
from ._stable import extend as extend
from ._stable import warmup_stable_decay as warmup_stable_decay
from ._stairs import piecewise_constant as piecewise_constant
from ._stairs import piecewise_interpolate as piecewise_interpolate
from ._stairs import step_decay as step_decay
from ._validate import Problem as Problem
from ._validate import ProblemName as ProblemName
from ._validate import validate as validate
from ._warmup import warmup as warmup
from ._warmup import warmup_cosine as warmup_cosine
