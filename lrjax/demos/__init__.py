"""Problems shipped with the package, to try things on."""

from ._digits import digits as digits
