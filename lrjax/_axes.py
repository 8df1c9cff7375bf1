"""What the pictures share: new axes, colours, title, legend."""

import functools
import textwrap
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ._checks import check_type, clip
from ._html import png_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, CHOSEN, GREY, WASH = "#12395b", "#c1440e", "#6b6b6b", "#dbe7f3"

LARGEST = 1e150
"""Beyond it the axes of matplotlib overflow."""

SMALL = 8.0
"""Font size of everything but the axes' labels, in points."""


def plain(name: str, limit: int = 32) -> str:
    """A name from a result as a picture can show it: short, its dollars no mathematics."""
    return clip(name, limit).replace("$", r"\$")


def axes_for(where: str, ax: object) -> "Axes":
    """The axes that were given, or new ones for None."""
    from matplotlib.axes import Axes

    if ax is None:
        return new_axes()
    check_type(f"{where}(ax=...)", ax, Axes, "matplotlib axes, or None for a new figure")
    return cast(Axes, ax)


def new_axes() -> "Axes":
    """Axes of a new figure that only the caller holds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.6), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    # Without pyplot a notebook knows no picture of a figure; IPython asks the object itself.
    setattr(figure, "_repr_png_", functools.partial(png_of, figure))  # noqa: B010
    return figure.add_subplot()


def draw_title(ax: "Axes", title: str, small: str = "", pad: float = 18.0) -> None:
    """A title on the left, and small print at the right end, growing upwards; below the title where it is narrow.

    Both are `pad` points above the axes.
    """
    style: dict[str, Any] = {"fontsize": 11, "fontweight": "bold", "loc": "left"}
    heading, room = ax.set_title(title, pad=pad, **style), ax.get_window_extent().width
    width = _wrap(heading, room)
    if small:
        place = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
        small_style = {"fontsize": SMALL, "fontstyle": "italic", "color": GREY}
        below = ax.annotate(small, (1.0, 1.0), xytext=(0, pad + 1), ha="right", **place, **small_style)
        if width + _wrap(below, room) > room:
            below.set(x=0, ha="left")
            below.xy = (0.0, 1.0)
            above = pad + 6 + below.get_window_extent().height * 72 / ax.figure.dpi  # 6: a gap, and descending letters
            ax.set_title(heading.get_text(), pad=above, **style)


def _wrap(text: Any, room: float) -> float:
    """Break the lines of a text that are wider than `room`; its width then, in pixels."""
    width = text.get_window_extent().width
    if width > room:
        longest = max(map(len, text.get_text().splitlines()))
        words, most = " ".join(text.get_text().split()), max(8, int(longest * room / width))
        text.set_text(textwrap.fill(words, most, break_on_hyphens=False))
        width = text.get_window_extent().width
    return width


def tidy(ax: "Axes") -> None:
    """Two spines and a light grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="x", which="major", color="0.93", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=9)


def draw_legend(ax: "Axes", **options: Any) -> None:
    """At the lower left, under the plateau; wherever there is room if a curve passes there."""
    taken = False
    for line in ax.get_lines():
        points = np.asarray(line.get_xydata())
        if len(points) > 2 and line.get_transform() == ax.transData:
            places = ax.transAxes.inverted().transform(ax.transData.transform(points))
            taken |= bool(((places[:, 0] < 0.36) & (places[:, 1] < 0.6)).any())
    style: dict[str, Any] = {"fontsize": SMALL, "framealpha": 0.9, "edgecolor": "none", "handlelength": 2.6}
    ax.legend(**style, **{"loc": "best" if taken else "lower left"} | options).set_zorder(10)


def gaps(values: np.ndarray) -> np.ndarray:
    """Values that are not finite, or cannot be drawn to scale, as nan, so that lines break there."""
    return np.where(np.abs(values) < LARGEST, values, np.nan)
