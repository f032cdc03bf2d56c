"""Prints what pyproject.toml requires, one a line, for a single call of pip: build, base and every extra."""

import tomllib
from pathlib import Path

if __name__ == "__main__":
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    wanted = project["build-system"]["requires"] + project["project"]["dependencies"]
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra
    print("\n".join(dict.fromkeys(wanted)))
