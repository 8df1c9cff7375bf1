"""What the tests use of the inside of lrjax, with what for: whatever else they import is public.

A name goes in only where the public ones cannot ask the question, and goes out when they can.
"""

# The parser of the command, whose pages are compared with the library's signatures; how its words become objects; and
# what is made to fail, or must not begin.
from lrjax.cli import _find_command as find_command  # noqa: F401
from lrjax.cli import _load as load  # noqa: F401
from lrjax.cli._errors import LINES as LINES
from lrjax.cli._errors import user_place as user_place
from lrjax.cli._main import app as app

# The explorer: its answers without a server, its server without a browser, and its paths against gradient descent.
from lrjax.explorer import _explore as explore  # noqa: F401
from lrjax.explorer._explore import make_routes as make_routes
from lrjax.explorer._paths import OPTIMIZERS as OPTIMIZERS
from lrjax.explorer._paths import descend as descend
from lrjax.explorer._paths import slot_steps as slot_steps
from lrjax.explorer._read import Refused as Refused
from lrjax.explorer._read import rounded as rounded
from lrjax.explorer._server import FILES as FILES
from lrjax.explorer._server import Server as Server
from lrjax.explorer._surfaces import SURFACES as SURFACES
from lrjax.explorer._surfaces import height as height
from lrjax.explorer._surfaces import sharpness as sharpness
from lrjax.explorer._surfaces import stability_limit as stability_limit
from lrjax.explorer._training import python_line as python_line
from lrjax.explorer._training import view as view
