"""`python -m bench.figures` writes docs/figures.md from bench/results."""

from bench.figures.page import PAGE, page

if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
