"""What is left to do, and in which leases: rows as numbers, less those done, grouped by what may share a batch."""

from sdbatch.plan.making import Known, colliding, make
from sdbatch.plan.planned import LEASE_BATCHES, LEASES_A_WORKER, Cell, Plan
from sdbatch.plan.shapes import batch_size

__all__ = ["LEASES_A_WORKER", "LEASE_BATCHES", "Cell", "Known", "Plan", "batch_size", "colliding", "make"]
