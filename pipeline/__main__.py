"""``python -m pipeline`` is ``ml-pipeline``."""

from pipeline.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
