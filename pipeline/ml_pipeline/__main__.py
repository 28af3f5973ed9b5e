"""``python -m ml_pipeline`` is ``ml-pipeline``."""

from ml_pipeline.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
