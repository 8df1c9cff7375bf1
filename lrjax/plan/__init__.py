"""From a found learning rate to a schedule: its peak by the area rule, a recommendation, or the peak by short runs."""

from ._peak import peak_for as peak_for
from ._recommend import Recommendation as Recommendation
from ._recommend import recommend as recommend
from ._tune import PeakNotFound as PeakNotFound
from ._tune import TunedPeak as TunedPeak
from ._tune import tune_peak as tune_peak
