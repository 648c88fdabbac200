"""`python -m api.cli`: the command `vfolder` without its script."""

from api.cli import main

if __name__ == "__main__":
    main()
