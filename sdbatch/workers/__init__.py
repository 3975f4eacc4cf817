"""Leases → workers → records."""
