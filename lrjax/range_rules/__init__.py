"""Rules that read a learning rate off a recorded range test; public as `lrjax.range_rules`.

A range test trains one model while the learning rate rises, so its history confounds the learning rate with
the step. Every rule is a pure function `rule(lrs, losses, *, options) -> Suggestion` on NumPy arrays: re-run
any of them, with other options, on any history. A history is learning rates that rise strictly, > 0, on a linear
scale, and a recorded (smoothed) loss for each: sequences or arrays of shape (steps,), at least one loss finite.
"""

from ._fastai import Trimmed as Trimmed
from ._fastai import fastai_minimum as fastai_minimum
from ._fastai import fastai_slide as fastai_slide
from ._fastai import fastai_steep as fastai_steep
from ._fastai import fastai_trim as fastai_trim
from ._fastai import fastai_valley as fastai_valley
from ._history import CurveShape as CurveShape
from ._history import Suggestion as Suggestion
from ._history import curve_shape as curve_shape
from ._smith import SmithBounds as SmithBounds
from ._smith import smith_bounds as smith_bounds
from ._smoothing import debiased_ema as debiased_ema
from ._smoothing import symmetric_smooth as symmetric_smooth
from ._steepest import ignite as ignite
from ._steepest import lightning as lightning
from ._steepest import lightning_index as lightning_index
from ._steepest import steepest_log as steepest_log
from ._steepest import torch_lr_finder as torch_lr_finder

_RULES = {
    "steepest_log": "lrjax: steepest per decade",
    "fastai_valley": "fastai: valley (its default)",
    "fastai_slide": "fastai: slide",
    "fastai_minimum": "fastai: minimum / 10",
    "fastai_steep": "fastai: steep",
    "lightning": "Lightning from 2.5.3: per unit of lr",
    "lightning_index": "Lightning up to 2.5.2: per step",
    "torch_lr_finder": "torch-lr-finder: steepest",
    "ignite": "ignite: steepest before the minimum",
}
"""Rule -> what it looks for, in the order in which all of them are asked."""
