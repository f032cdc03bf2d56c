"""The hardware: memory, atomics, locks, interrupts, clock. Knows nothing of slabs."""
