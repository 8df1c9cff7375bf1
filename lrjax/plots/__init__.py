"""Every picture. Matplotlib is imported inside the functions; pyplot and the rcParams are never touched.

Each function takes axes to draw into, or makes a new figure, and returns the axes: `axes.figure.savefig(path)` writes
the picture, and a notebook shows `axes.figure`. Nothing depends on colour alone, so all of them print in grey.
"""

from ._curvature import plot_curvature as plot_curvature
from ._finder import plot_finder as plot_finder
from ._range_test import plot_range_test as plot_range_test
from ._schedules import plot_schedules as plot_schedules
from ._search import plot_search as plot_search
from ._sweep import plot_sweep as plot_sweep
