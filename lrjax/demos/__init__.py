"""Problems shipped with the package, to try things on."""

from ._digits import digits as digits
from ._digits import load_digits as load_digits
