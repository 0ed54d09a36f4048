"""Every method of every cell of the frozen tower: accuracy, and height over the curve of cross entropy.

python tests/benchmarks/frozen_tower_table.py tests/benchmarks/results/frozen_tower_*.jsonl [--cell NAME]

The tables of the pages are written by `published.py`.
"""

from pathlib import Path

from common import parser_of
from frozen_tower_results import read
from frozen_tower_tables import methods

if __name__ == "__main__":
    parser = parser_of(__doc__)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--cell", nargs="+", help="only these")
    options = parser.parse_args()
    found = read(options.results)
    print("\n\n".join(methods(cell) for name, cell in found.items() if name in (options.cell or found)))
