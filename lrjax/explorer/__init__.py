"""The interactive explorer: sliders for every schedule, optimizers on surfaces, and the finder, in a local page."""

from ._explore import explore as explore
