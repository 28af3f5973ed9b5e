"""The comparison of challenger and champion, and the decision about a promotion."""
