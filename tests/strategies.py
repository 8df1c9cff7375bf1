"""Hypothesis strategies: curves of a finder, as positions in decades and losses."""

import numpy as np
from hypothesis import strategies as st

SMALL = st.floats(-0.02, 0.02)


@st.composite
def grids(draw: st.DrawFn, min_size: int = 17, max_size: int = 29) -> np.ndarray:
    """Exponents of a search: half decades from 1e-7 to 10 or a part of them, some quarter decades between."""
    halves = np.arange(-14, 3) / 2
    quarters = draw(st.lists(st.sampled_from(list(np.arange(-27, 4, 2) / 4)), unique=True, max_size=12))
    grid = np.sort(np.concatenate([halves, quarters]))
    return grid if min_size <= len(grid) <= max_size else halves


def basin(x: np.ndarray, knee: float, width: float, edge: float, rise: float = 3.0) -> np.ndarray:
    """1 on the plateau, falling over `width` decades from `knee` on, rising steeply beyond `edge`."""
    fall = 1.0 / (1.0 + np.exp(6.0 * (x - knee - 0.5 * width) / width))
    return fall + np.exp(np.minimum(rise * (x - edge), 20.0))


@st.composite
def curves(draw: st.DrawFn, *, seeds: int = 1, noise: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """A grid and losses of shape (seeds, trials), 1 at the start, with a basin inside the range and some noise."""
    x = draw(grids())
    knee, width = draw(st.floats(-5.5, -2.0)), draw(st.floats(0.8, 2.5))
    edge = knee + width + draw(st.floats(0.2, 1.0))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    losses = basin(x, knee, width, edge) + noise * rng.normal(size=(seeds, len(x)))
    return x, losses
