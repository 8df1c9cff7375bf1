"""What MkDocs needs to be told about this repository: mathematics, files outside docs/, notebooks."""

import html
import json
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = "paper_figures/images"
MATH = re.compile(r'(\$?)<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\2>\1', re.DOTALL)
"""A dollar beside it is what is left of `$$` within a paragraph."""


def on_files(files: Files, config: Any) -> Files:
    """Take in the paper's figures, which lie beside their scripts, and notebooks as pages."""
    for path in sorted((ROOT / OUTSIDE).iterdir()):
        files.append(File.generated(config, f"{OUTSIDE}/{path.name}", abs_src_path=str(path)))
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            page = page_of(json.loads(Path(str(file.abs_src_path)).read_text()))
            files.append(File.generated(config, file.src_uri.removesuffix(".ipynb") + ".md", content=page))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to the figures as they are in the site; in the repository they leave docs/."""
    return markdown.replace(f"](../{OUTSIDE}/", f"]({OUTSIDE}/")


def on_page_content(content: str, **_: Any) -> str:
    """Mathematics as MathML, which browsers draw without a script."""
    return MATH.sub(lambda match: to_mathml(html.unescape(match[3]), display=bool(match[1]) or match[2] == "div"), content)


def to_mathml(latex: str, *, display: bool) -> str:
    """A formula of LaTeX as MathML."""
    return convert(latex, display="block" if display else "inline")


def page_of(notebook: dict[str, Any]) -> str:
    """A notebook as Markdown: its text, its code, and what the code printed and drew."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code" and source.strip():
            parts += [f"```python\n{source}\n```", *map(_shown, cell["outputs"])]
    return "\n\n".join(part for part in parts if part)


def _shown(output: dict[str, Any]) -> str:
    """One output: a picture if it has one, else its text."""
    data = output.get("data", {})
    if "image/png" in data:
        return f"![output](data:image/png;base64,{''.join(data['image/png']).strip()})"
    text = "".join(output.get("text", data.get("text/plain", ""))).rstrip()
    return f"```text\n{text}\n```" if text else ""
