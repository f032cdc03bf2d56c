"""The project's performance goals, one file each: what is measured, what it must be, and beside what."""
