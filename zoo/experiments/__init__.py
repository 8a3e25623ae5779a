"""Many runs: suites, the plan of their runs, worker processes, and the comparison that a report is drawn from.

Above runs and reports, below the command line.
"""
