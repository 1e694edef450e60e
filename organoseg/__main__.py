"""`python -m organoseg`, which is also what `torchrun -m organoseg train ...` starts in each process."""

import sys

from organoseg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
