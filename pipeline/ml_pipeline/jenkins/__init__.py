"""Verbs that call the distributions for Jenkins: the Jenkinsfile harness and the job checks."""
