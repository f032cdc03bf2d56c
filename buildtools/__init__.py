"""What it takes to build the project: module discovery, the compile command, the layout generator."""
