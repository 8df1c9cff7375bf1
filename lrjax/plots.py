"""Every picture. Matplotlib is imported inside the functions; pyplot and the rcParams are never touched.

Each function takes axes to draw into, or makes a new figure, and returns the axes: `axes.figure.savefig(path)` writes
the picture, and a notebook shows `axes.figure`. Nothing depends on colour alone, so all of them print in grey.
"""

from ._search import plot_curvature as plot_curvature
from ._search import plot_lr as plot_lr
from ._search import plot_range_test as plot_range_test
from ._sweeps import plot_sweep as plot_sweep
from .schedules import _plot_schedules as plot_schedules  # noqa: F401
