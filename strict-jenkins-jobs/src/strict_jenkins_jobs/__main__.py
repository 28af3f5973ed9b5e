"""``python -m strict_jenkins_jobs``."""

from strict_jenkins_jobs.cli import main

raise SystemExit(main())
