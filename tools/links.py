"""Finds links in a rendered book that lead to no file, or to a heading that the file does not have: links.py DIRECTORY"""

import html
import pathlib
import re
import sys


def links(text):
    """Targets of the links and images in the text of a page, without mdBook's navigation."""
    main = re.search(r"<main>(.*?)</main>", text, re.DOTALL)
    return [html.unescape(link) for link in re.findall(r'\b(?:href|src)="([^"]*)"', main.group(1) if main else "")]


def is_dead(page, link):
    """Whether a link of a page leads nowhere."""
    if re.match(r"[a-z]+:", link):
        return False
    path, _, heading = link.partition("#")
    target = page.parent / path if path else page
    if not target.exists():
        return True
    return bool(heading) and f'id="{heading}"' not in target.read_text(encoding="utf-8")


book = pathlib.Path(sys.argv[1])
# The pages 404.html, print.html and toc.html repeat the chapters at another path, so their relative links would not
# match.
pages = [page for page in sorted(book.rglob("*.html")) if page.name not in ("404.html", "print.html", "toc.html")]
dead = [f"{page}: {link}" for page in pages for link in links(page.read_text(encoding="utf-8")) if is_dead(page, link)]
print("\n".join(dead) or f"{len(pages)} pages, no dead link")
sys.exit(bool(dead))
