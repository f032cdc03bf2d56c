"""The programs that run on the machine, one file each."""
