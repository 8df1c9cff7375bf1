"""Learning rates that carry over width, batch size and length: from small trainings to large ones."""

from ._coordinate_result import CoordinateCheck as CoordinateCheck
from ._coordinates import coordinate_check as coordinate_check
from ._mup import WidthScaling as WidthScaling
from ._mup import mup as mup
from ._rescale import rescale_init as rescale_init
