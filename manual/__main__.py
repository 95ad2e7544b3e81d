"""Writes the pages: `python -m manual`."""

from manual import series
from manual.mesh import scraped
from manual.pages import FOLDER, PAGES, SERIES

if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page())
    (FOLDER / SERIES).write_text(series.page(scraped()))
