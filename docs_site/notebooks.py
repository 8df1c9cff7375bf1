"""Notebooks as pages: Markdown with the code and what it printed and drew."""

from typing import Any


def page_of(notebook: dict[str, Any]) -> str:
    """A notebook, as its JSON, in Markdown."""
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
        return f"![What the code drew](data:image/png;base64,{''.join(''.join(data['image/png']).split())})"
    text = "".join(output.get("text", data.get("text/plain", ""))).rstrip()
    return f"```text\n{text}\n```" if text else ""
