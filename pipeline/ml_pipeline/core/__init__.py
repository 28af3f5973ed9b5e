"""Foundations of every room: errors, reports, the home, working folders, git, documents."""
