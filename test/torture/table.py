#!/usr/bin/python3
"""The table of `make torture`: a program's part of it, to standard output and to a file of rows.

A row is fault, rounds, frames sent, frames lost beyond what eet(7) allows, damaged files, the
slowest recovery in seconds, and the command that repeats it.  What a fault does not have is None.

With options.rows, each row is appended to that file too, separated by tabs; table.py FILE prints
such a file, and exits with status 1 if there is a lost frame or a damaged file in it.
"""

import sys

HEAD = ("fault", "rounds", "sent", "lost", "damaged", "recovery", "repeat with")
LINE = "{:30} {:>7} {:>11} {:>5} {:>8} {:>9}  {}"


def cell(value):
    return "-" if value is None else f"{value:.2f} s" if isinstance(value, float) else str(value)


def add_option(parser):
    parser.add_argument("--rows", metavar="FILE", help="append the table's rows to it")


def show(rows, options=None):
    """rows: sequences of seven; options: where add_option() left the name of the file."""
    print(LINE.format(*HEAD))
    for row in rows:
        print(LINE.format(*map(cell, row)), flush=True)
    if options is not None and options.rows:
        with open(options.rows, "a", encoding="utf-8") as f:
            for row in rows:
                f.write("\t".join(map(cell, row)) + "\n")


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        rows = [line.rstrip("\n").split("\t") for line in f]
    show(rows)
    return int(not rows or any(value not in ("0", "-") for row in rows for value in row[3:5]))


if __name__ == "__main__":
    sys.exit(main())
