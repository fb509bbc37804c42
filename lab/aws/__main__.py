"""`python -m lab.aws`: the process `lab aws`."""

import sys

from lab.aws.server import main

sys.exit(main())
