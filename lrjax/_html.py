"""Results in a notebook: the summary as text, its warnings marked, and the picture beside it."""

import base64
import html
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WARNING = "Warning, "

FRAME = "border-left:3px solid {};padding:0.1em 0 0.1em 0.7em;margin:0.3em 0;max-width:52em;line-height:1.45"
"""No colour of text or background is set, so that light and dark notebooks both show their own."""


class Shown:
    """A result with `summary()` and `plot()`: a notebook shows both."""

    def _repr_html_(self: Any) -> str:
        heading, *rest = self.summary().splitlines()
        said = f"<div><b>{html.escape(heading)}</b></div>{''.join(map(_line, rest))}"
        return block(said, self.plot, heading)


def block(said: str, draw: Callable[[], "Axes"], alt: str) -> str:
    """HTML with the picture below it, or `alt` in its place; never raises because of the picture."""
    return f'<div class="lrjax">{said}{_picture(draw, alt)}</div>'


def preformatted(text: str) -> str:
    """Code, or lines that letters are counted in, as HTML."""
    return f'<pre style="margin:0.3em 0;background:none;color:inherit">{html.escape(text)}</pre>'


def sentence(text: str) -> str:
    """A line of text as HTML."""
    return f"<div>{html.escape(text)}</div>"


def _line(text: str) -> str:
    colour = "#d08700" if text.startswith(WARNING) else "#8a9bb0"
    return f'<div style="{FRAME.format(colour)}">{html.escape(text)}</div>'


def png_of(figure: Any) -> bytes:
    """A figure as a notebook shows it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _picture(draw: Callable[[], "Axes"], alt: str) -> str:
    """The picture inside the page, on white; a sentence in its place where it cannot be drawn."""
    try:
        data = base64.b64encode(png_of(draw().figure)).decode()
    except Exception as error:  # a notebook must show the result whatever matplotlib says
        return f"<div><i>No picture: {html.escape(f'{type(error).__name__}: {error}')}</i></div>"
    style = "max-width:100%;width:640px;background:white;border-radius:4px;margin-top:0.4em"
    return f'<img alt="{html.escape(alt, quote=True)}" style="{style}" src="data:image/png;base64,{data}"/>'
