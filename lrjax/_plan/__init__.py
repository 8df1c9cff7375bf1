"""From a learning rate to the schedule of a training."""

from ._peak import peak_for as peak_for
from ._recommend import Recommendation as Recommendation
from ._recommend import code_of as code_of
from ._recommend import recommend as recommend
