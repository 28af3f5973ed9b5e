"""Monitoring of production: drift, performance with late labels, and what follows from them."""
