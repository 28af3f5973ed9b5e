"""``python -m pytest_jenkinsfile``."""

from pytest_jenkinsfile.cli import main

raise SystemExit(main())
