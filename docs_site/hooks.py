"""What MkDocs needs to be told about this repository: mathematics, files outside docs/, notebooks."""

import html
import json
import re
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # MkDocs loads this file by its path

from docs_site.notebooks import page_of  # noqa: E402

OUTSIDE = {"paper_figures/images": "*", "examples": "*.py"}
"""Folder of files that pages link to -> which."""

MATH = re.compile(r'(\$?)<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\2>\1', re.DOTALL)
"""A dollar beside it is what is left of `$$` within a paragraph."""


def on_files(files: Files, config: Any) -> Files:
    """Take in the paper's figures, which lie beside their scripts, the examples, and notebooks as pages."""
    for folder, names in OUTSIDE.items():
        for path in sorted((ROOT / folder).glob(names)):
            files.append(File.generated(config, f"{folder}/{path.name}", abs_src_path=str(path)))
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            page = page_of(json.loads(Path(str(file.abs_src_path)).read_text()))
            files.append(File.generated(config, file.src_uri.removesuffix(".ipynb") + ".md", content=page))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to these files as they are in the site; in the repository they leave docs/."""
    for folder in OUTSIDE:
        markdown = markdown.replace(f"](../{folder}/", f"]({folder}/")
    return markdown


def on_page_content(content: str, **_: Any) -> str:
    """Mathematics as MathML, which browsers draw without a script."""
    return MATH.sub(_to_mathml, content)


def _to_mathml(match: re.Match[str]) -> str:
    return convert(html.unescape(match[3]), display="block" if match[1] or match[2] == "div" else "inline")
