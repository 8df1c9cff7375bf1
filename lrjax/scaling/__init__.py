"""Learning rates that carry over width, batch size and length: from small trainings to large ones."""

from ._coordinate_result import CoordinateCheck as CoordinateCheck
from ._coordinate_result import Slope as Slope
from ._coordinates import coordinate_check as coordinate_check
from ._fit import fit as fit
from ._law import Exponent as Exponent
from ._law import LRPrediction as LRPrediction
from ._law import Optimum as Optimum
from ._law import Reach as Reach
from ._law import ScalingLaw as ScalingLaw
from ._leaves import Leaf as Leaf
from ._measure import measure as measure
from ._mup import WidthScaling as WidthScaling
from ._mup import mup as mup
from ._noise_scale import NoiseScale as NoiseScale
from ._noise_scale import NoiseScales as NoiseScales
from ._noise_scale import noise_scale as noise_scale
from ._rescale import rescale_init as rescale_init
