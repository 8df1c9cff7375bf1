"""From a learning rate to the schedule of a training."""

from ._peak import AREA_POWER as AREA_POWER
from ._peak import WARM_FACTOR as WARM_FACTOR
from ._peak import lr_of_max_lr_at as lr_of_max_lr_at
from ._peak import peak_for as peak_for
from ._peak import starts_low as starts_low
from ._recommend import Recommendation as Recommendation
from ._recommend import code_of as code_of
from ._recommend import recommend as recommend
from ._tune import TunedPeak as TunedPeak
from ._tune import _peaks as _peaks
from ._tune import tune_peak as tune_peak
