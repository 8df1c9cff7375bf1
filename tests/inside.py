"""What the tests use of the inside of lrjax, with what for: whatever else they import is public.

A name goes in only where the public ones cannot ask the question, and goes out when they can.
"""

# ruff: noqa: F401
# isort: off

# The command: its parser, whose pages are compared with the library's signatures; how its words become objects; what
# is made to fail, or must not begin; what the doctor looks for, which pyproject.toml must name.
from lrjax.cli import _find_command as find_command
from lrjax.cli import _load as load
from lrjax.cli._doctor_command import EXTRAS as EXTRAS
from lrjax.cli._doctor_command import NEEDED as NEEDED
from lrjax.cli._errors import LINES as LINES
from lrjax.cli._errors import user_place as user_place
from lrjax.cli._main import app as app

# The explorer: its answers without a server, its server without a browser, its paths against gradient descent.
from lrjax.explorer import _explore as explore
from lrjax.explorer._explore import make_routes as make_routes
from lrjax.explorer._paths import OPTIMIZERS as OPTIMIZERS
from lrjax.explorer._paths import descend as descend
from lrjax.explorer._paths import slot_steps as slot_steps
from lrjax.explorer._read import Refused as Refused
from lrjax.explorer._read import rounded as rounded
from lrjax.explorer._server import FILES as FILES
from lrjax.explorer._server import Server as Server
from lrjax.explorer._surfaces import SURFACES as SURFACES
from lrjax.explorer._surfaces import height as height
from lrjax.explorer._surfaces import sharpness as sharpness
from lrjax.explorer._surfaces import stability_limit as stability_limit
from lrjax.explorer._training import python_line as python_line
from lrjax.explorer._training import view as view

# Lanes without a strategy: the bitwise oracles of rounds, of lanes that are carried, of checkpoints and devices; what
# ends lanes in threads.
from lrjax._engine import LaneRunner as LaneRunner
from lrjax._engine import check_checkpoint as check_checkpoint
from lrjax._engine._host_loop import spread as spread

# A program by itself: what is compiled and how often, how large it is, and which devices it runs on.
from lrjax._engine import Program as Program
from lrjax._engine import Shared as Shared
from lrjax._engine import _choice as engine_choice
from lrjax._engine import _compilation_cache as engine_compilation_cache
from lrjax._engine import _lane_engine as engine_lane_engine
from lrjax._engine import _programs as engine_programs
from lrjax._engine import compile_program as compile_program
from lrjax._engine import lane_mesh as lane_mesh
from lrjax._engine import lower_program as lower_program
from lrjax._engine import programs as programs
from lrjax._engine import train_lane as train_lane

# Memory: the model of it, and machines that have too little.
from lrjax._engine import Engine as Engine
from lrjax._engine import MemoryModel as MemoryModel
from lrjax._engine import SHARE_OF_FREE as SHARE_OF_FREE
from lrjax._engine import _memory as engine_memory
from lrjax._engine import _rounds as engine_rounds
from lrjax._engine import bytes_at as bytes_at
from lrjax._engine import free_bytes as free_bytes
from lrjax._engine import out_of_memory as out_of_memory
from lrjax._engine import program_bytes as program_bytes
from lrjax._engine import show_bytes as show_bytes

# Sweeps and searches that are killed or interrupted: a checkpoint after every block, blocks of one step, where to
# stop.
from lrjax._engine import _source as engine_source
from lrjax._engine._trial_data import Block as Block
from lrjax._engine import _store as engine_store
from lrjax._search import _live as search_live
from lrjax._search import _ramp as search_ramp
from lrjax._sweeps import _run as sweeps_run

# A search with a budget on made-up losses, and the loss of the best constant predictor.
from lrjax._curve import drift as drift
from lrjax._curve import seen_drift as seen_drift
from lrjax._engine import EvalData as EvalData
from lrjax._engine import trivial_loss as trivial_loss
from lrjax._engine._trial_data import EvalSet as EvalSet
from lrjax._search import Choice as Choice
from lrjax._search import Context as Context
from lrjax._search import curve_of_losses as curve_of_losses
from lrjax._search import run_stages as run_stages

# Definitions: the grids that a search tries, the running median, the reader of files given what no result writes,
# checked shapes, a bar.
from lrjax import _json as json_module
from lrjax import _progress as progress_module
from lrjax._curve import _loss_curve as curve_loss_curve
from lrjax._curve import extend as extend
from lrjax._curve import fill_window as fill_window
from lrjax._curve import first_grid as first_grid
from lrjax._curve import new_ones as new_ones
from lrjax._curve import paper_points as paper_points
from lrjax._decode import MAX_BYTES as MAX_BYTES
from lrjax._decode import decode as decode
from lrjax._decode import parse as parse
from lrjax._sweeps import _read_grid as sweeps_read_grid
from lrjax.range_rules._smoothing import running_median as running_median
from lrjax.schedules import _phases as schedules_phases

# The design of a measured law, without trainings.
from lrjax.scaling._design import first_quarters as first_quarters
from lrjax.scaling._design import make_design as make_design
from lrjax.scaling._design import next_quarters as next_quarters

# The noise scale's parts, from gradients without a task: that they are unbiased, and how often the interval holds.
from lrjax.scaling._noise_scale import _ratio as noise_ratio
from lrjax.scaling._noise_scale import _statistics as noise_statistics
from lrjax.scaling._noise_scale import _without as noise_without_one

HOOKS = {
    "find": "import lrjax._search._live as place; name, when = 'curve_of', 2",
    "search": "from lrjax._engine import LaneRunner as place; name, when = 'train', 2",
    "sweep": "from lrjax._sweeps._run import SweepRun as place; name, when = '_evaluate', 2",
    "range-test": "import lrjax._search._ramp as place; name, when = '_why_stop', 9",
}
"""Where each command waits for Ctrl-C: at the second round, rung or evaluation, or the ninth step."""
