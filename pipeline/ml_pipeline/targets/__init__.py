"""Where servers run: processes, Docker containers, Kubernetes pods."""
