"""The search with a budget: a sweep, then rungs that follow the minimum, for a training of known length."""

from ._plan import PlannedRung as PlannedRung
from ._plan import SearchPlan as SearchPlan
from ._plan import plan_search as plan_search
from ._result import SearchResult as SearchResult
from ._rung import SearchRung as SearchRung
from ._search import search_lr as search_lr
from ._warnings import SearchWarning as SearchWarning
from ._warnings import SearchWarningName as SearchWarningName
