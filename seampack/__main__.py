"""``python -m seampack``: the command line."""

from seampack.cli import program

if __name__ == "__main__":
    program()
