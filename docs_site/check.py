"""Whether every link of the built site leads somewhere, nothing is fetched from another host, and no LaTeX is left.

python -m docs_site.check                            # reads site/
"""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SITE = Path(__file__).resolve().parents[1] / "site"
FETCHED = {"img", "script", "iframe", "source", "video", "audio", "embed", "use", "image"}
"""Elements whose address the browser fetches by itself; `link` does too, but for rel=canonical and the like."""


class Page(HTMLParser):
    """The anchors of a page, the addresses that it links to, those that it fetches, and whether LaTeX is left."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = {"", "top"}
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.latex = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in one element."""
        given = {name: value or "" for name, value in attrs}
        self.latex |= "arithmatex" in given.get("class", "").split()
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        fetches = tag in FETCHED or (
            tag == "link" and given.get("rel", "") not in ("canonical", "next", "prev", "edit")
        )
        for name in ("href", "src", "xlink:href", "poster", "data"):
            if name in given:
                (self.fetched if fetches else self.links).append(given[name])


def problems_of(site: Path) -> Iterator[str]:
    """Every link that leads nowhere, and everything that is fetched from another host."""
    pages = {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        where = path.relative_to(site)
        if page.latex:
            yield f"{where} has mathematics that stayed LaTeX"
        for address in page.fetched:
            if urlsplit(address).netloc:
                yield f"{where} fetches {address}"
        if path.name != "404.html":  # whose links are from the root of a server
            for address in page.links + page.fetched:
                if reason := _lost(path, address, pages):
                    yield f"{where} links to {address}: {reason}"
    for path in sorted(site.rglob("*.css")):
        if any(remote in path.read_text() for remote in ("url(http", "url(//", "@import")):
            yield f"{path.relative_to(site)} fetches from another host"


def _lost(path: Path, address: str, pages: dict[Path, Page]) -> str | None:
    """Why an address within the site leads nowhere; None if it does not, or leads elsewhere."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    target = target / "index.html" if target.is_dir() else target
    if not target.exists():
        return "no such file"
    if target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "no such anchor"
    return None


def main() -> None:
    """Print what is wrong, and exit with 1 if anything is."""
    if not (SITE / "index.html").exists():
        sys.exit("There is no site. Run `make docs`.")
    found = list(problems_of(SITE.resolve()))
    print("\n".join(found) or "Every link leads somewhere, and nothing is fetched from another host.")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
